//! What people see and do of alerts, silences and channels over HTTP.

use serde_json::{Value, json};

use super::*;
use crate::engine::matcher::Matcher;

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// As the holder of the token.
async fn see(rig: &Rig, path: &str) -> (StatusCode, Value) {
    let (status, body) = text(rig.ask(Peer::Tcp, request("GET", path, &[TOKEN], "")).await).await;
    (status, parsed(&body))
}

/// As the holder of the token, with a driver that says yes; gives what reached the driver.
async fn act(
    rig: &mut Rig,
    method: &str,
    path: &str,
    body: &str,
) -> (StatusCode, Value, Option<Act>) {
    let mut commands = std::mem::replace(&mut rig.commands, mpsc::channel(1).1);
    let mut reached = None;
    let response = {
        let mut ask =
            std::pin::pin!(rig.ask(Peer::Tcp, request(method, path, &[TOKEN, JSON], body)));
        loop {
            tokio::select! {
                response = ask.as_mut() => break response,
                Some(asked) = commands.recv() => {
                    assert_eq!(asked.command.actor.0, "holder of the API token");
                    asked.reply.send(Ok("so be it".into())).unwrap();
                    reached = Some(asked.command.act);
                }
            }
        }
    };
    let (status, said) = text(response).await;
    rig.commands = commands;
    (status, parsed(&said), reached)
}

fn ids(body: &Value) -> Vec<&str> {
    body["alerts"].as_array().unwrap().iter().map(|a| a["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn alerts_are_listed_by_state_severity_and_check() {
    let rig = rig(sample::busy());
    for (query, wanted) in [
        ("", vec!["a11", "a12", "a13", "a14", "a9"]),
        ("?state=all", vec!["a11", "a12", "a13", "a14", "a9"]),
        ("/active", vec!["a11", "a12", "a13", "a14"]),
        ("?state=open", vec!["a11", "a12", "a13", "a14"]),
        ("?state=resolved", vec!["a9"]),
        ("?state=open&severity=critical", vec!["a11", "a12", "a13"]),
        ("/active?check=nginx", vec!["a12"]),
        ("?check=disk:*", vec!["a14"]),
        ("?check=swap", vec![]),
    ] {
        let (status, body) = see(&rig, &format!("/api/v1/alerts{query}")).await;
        assert_eq!(status, 200, "{query}");
        assert_eq!(ids(&body), wanted, "{query}");
    }
    for (query, says) in [
        ("?state=closed", "use state=open"),
        ("?severity=bad", "use state=open"),
        ("?colour=red", "use state=open"),
        ("?check=disc:/", "no kind of check"),
    ] {
        let (status, body) = see(&rig, &format!("/api/v1/alerts{query}")).await;
        assert_eq!(status, 400, "{query}");
        assert!(body["error"].as_str().unwrap().contains(says), "{body}");
    }
}

#[tokio::test]
async fn an_alert_is_shown_with_all_that_bears_on_it() {
    let rig = rig(sample::busy());
    let (status, body) = see(&rig, "/api/v1/alerts/a12").await;
    assert_eq!(status, 200);
    assert_eq!(body["alert"]["check"], "unit:nginx.service");
    assert_eq!(body["meaning"], "it ended with an error code");
    assert_eq!(
        body["alert"]["ack"],
        json!({
            "actor": "root (uid 0)", "at": "2026-01-31T07:16:52.5Z",
            "why": "disk is on its way", "until": "2026-01-31T09:17:22.5Z",
        })
    );
    assert_eq!(
        body["alert"]["acts"],
        json!([
            {"at": "2026-01-31T07:16:22.5Z", "by": null, "text": "restarted, attempt 2"},
            {"at": "2026-01-31T07:16:52.5Z", "by": "root (uid 0)",
             "text": "acknowledged: disk is on its way"},
        ])
    );
    assert_eq!(body["alert"]["next"], "restart in 20 s");
    assert_eq!(body["quiet"], "settling");
    assert!(body["alert"]["lines"][0].as_str().unwrap().contains("[emerg]"));

    let (_, cause) = see(&rig, "/api/v1/alerts/a11").await;
    assert_eq!(cause["dependants"][0]["id"], "a13");
    assert_eq!(cause["alert"]["pending"][0]["happening"], "opened");
    let (_, beneath) = see(&rig, "/api/v1/alerts/a13").await;
    assert_eq!(beneath["cause"]["check"], "unit:db.service");
    assert_eq!(beneath["alert"]["untold"], "dependant");
    let (_, silenced) = see(&rig, "/api/v1/alerts/a14").await;
    assert_eq!(silenced["alert"]["silenced"]["id"], "s3");
    let (_, over) = see(&rig, "/api/v1/alerts/a9").await;
    assert_eq!(over["alert"]["resolved"], "2026-01-31T05:22:22.5Z");

    let (status, body) = see(&rig, "/api/v1/alerts/nginx").await;
    assert_eq!(status, 404);
    assert_eq!(body, json!({"error": "no alert is called 'nginx'", "did_you_mean": ["a12"]}));
    let (status, body) = see(&rig, "/api/v1/alerts/a1%FF").await;
    assert_eq!(
        (status, body["error"].as_str()),
        (StatusCode::NOT_FOUND, Some("no alert is called ''"))
    );
}

#[tokio::test]
async fn silences_and_channels_are_shown() {
    let rig = rig(sample::busy());
    let (_, body) = see(&rig, "/api/v1/silences").await;
    assert_eq!(body["silences"][0]["of"], "disk:*");
    assert_eq!(body["silences"][0]["checks"], json!(["disk:*"]));
    assert_eq!(body["silences"][0]["actor"], "root (uid 0)");
    assert_eq!(body["maintenance"][0]["name"], "backup");
    assert_eq!(body["quiet"], "settling");
    let (_, body) = see(&rig, "/api/v1/channels").await;
    assert_eq!(
        body["channels"][1],
        json!({
            "name": "pager", "type": "webhook", "min_severity": "critical", "state": "stopped",
            "queued": 3, "sent": 0, "failed": 1, "last_success": null,
            "last_failure": "2026-01-31T07:16:21.5Z", "last_error": "401 Unauthorized",
            "last_latency_seconds": null,
        })
    );
    assert_eq!(body["channels"][0]["min_severity"], "info");
    let (_, detailed) = rig.get("/health/detailed").await;
    let detailed = parsed(&detailed);
    assert_eq!(detailed["alert_counts"], json!({"active": 2, "acknowledged": 1, "silenced": 1}));
    // What people say of an alert changes nothing in how the host is.
    assert_eq!(rig.get("/health").await.0, 503);
}

#[tokio::test]
async fn each_act_reaches_the_driver_as_it_was_meant() {
    let mut rig = rig(sample::busy());
    let hour = Duration::from_secs(3600);
    let a12: Arc<str> = "a12".into();
    for (method, path, body, wanted) in [
        (
            "POST",
            "/api/v1/alerts/a12/acknowledge",
            r#"{"seconds":3600,"why":" on it "}"#,
            Act::Acknowledge { alert: a12.clone(), lasts: Some(hour), why: Some("on it".into()) },
        ),
        (
            "POST",
            "/api/v1/alerts/a12/acknowledge",
            "",
            Act::Acknowledge { alert: a12.clone(), lasts: None, why: None },
        ),
        ("DELETE", "/api/v1/alerts/a12/acknowledge", "", Act::Unacknowledge { alert: a12.clone() }),
        (
            "POST",
            "/api/v1/silences",
            r#"{"checks":["nginx"],"severity":"critical","labels":{"env":"prod"},"seconds":3600}"#,
            Act::Silence {
                matcher: Matcher {
                    min_severity: Some(Severity::Critical),
                    labels: [("env".to_owned(), "prod".to_owned())].into(),
                    ..Matcher::check("nginx").unwrap()
                },
                lasts: hour,
                why: None,
            },
        ),
        (
            "POST",
            "/api/v1/silences",
            r#"{"checks":["*"],"seconds":3600}"#,
            Act::Silence { matcher: Matcher::all(), lasts: hour, why: None },
        ),
        ("DELETE", "/api/v1/silences/s3", "", Act::Unsilence { id: "s3".into() }),
        (
            "POST",
            "/api/v1/units/nginx.service/restart",
            "{}",
            Act::Restart { unit: "nginx.service".into() },
        ),
        (
            "POST",
            "/api/v1/units/web%402.service/restart",
            "",
            Act::Restart { unit: "web@2.service".into() },
        ),
    ] {
        let (status, said, reached) = act(&mut rig, method, path, body).await;
        assert_eq!(status, 200, "{method} {path} {said}");
        assert_eq!(said, json!({"message": "so be it"}));
        assert_eq!(reached, Some(wanted));
    }
}

#[tokio::test]
async fn a_silence_of_nothing_there_is_made_with_a_warning() {
    let mut rig = rig(sample::busy());
    let body = r#"{"checks":["ngnix","disk:*"],"seconds":60}"#;
    let (status, said, reached) = act(&mut rig, "POST", "/api/v1/silences", body).await;
    assert_eq!(status, 200);
    let warning = "no check matches 'ngnix' at the moment; did you mean unit:nginx.service?";
    assert_eq!(said, json!({"message": "so be it", "warning": warning}));
    assert!(matches!(reached, Some(Act::Silence { .. })));
}

#[tokio::test]
async fn what_makes_no_sense_does_not_reach_the_driver() {
    let mut rig = rig(sample::busy());
    let long = format!(r#"{{"checks":["nginx"],"seconds":60,"why":"{}"}}"#, "x".repeat(501));
    let long_ack = format!(r#"{{"why":"{}"}}"#, "x".repeat(501));
    for (method, path, body, code, says) in [
        ("POST", "/api/v1/alerts/a12/acknowledge", "{", 400, "the body cannot be read: EOF"),
        ("POST", "/api/v1/alerts/a12/acknowledge", "3", 400, "the body cannot be read"),
        ("POST", "/api/v1/alerts/a12/acknowledge", r#"{"minutes":1}"#, 400, "unknown field"),
        ("POST", "/api/v1/alerts/a12/acknowledge", r#"{"seconds":0}"#, 400, "between 1 and"),
        ("POST", "/api/v1/alerts/a12/acknowledge", &long_ack, 400, "at most 500 characters"),
        ("POST", "/api/v1/alerts/a99/acknowledge", "", 404, "no open alert is called 'a99'"),
        ("POST", "/api/v1/alerts/a9/acknowledge", "", 409, "alert a9 is over"),
        ("DELETE", "/api/v1/alerts/a99/acknowledge", "", 404, "no open alert"),
        ("POST", "/api/v1/silences", "", 400, "between 1 and"),
        ("POST", "/api/v1/silences", r#"{"seconds":60}"#, 400, "say what is to be silent"),
        ("POST", "/api/v1/silences", r#"{"checks":["disc:/"],"seconds":60}"#, 400, "no kind"),
        ("POST", "/api/v1/silences", r#"{"severity":"healthy","seconds":60}"#, 400, "warning or"),
        ("POST", "/api/v1/silences", &long, 400, "at most 500 characters"),
        ("DELETE", "/api/v1/silences/s9", "", 404, "no silence is called 's9'"),
        ("DELETE", "/api/v1/holds", "", 400, "full name"),
        ("POST", "/api/v1/units/ngnix.service/restart", "", 404, "watches no unit"),
        ("POST", "/api/v1/test-notification", r#"{"chanel":"ops"}"#, 400, "unknown field"),
        ("POST", "/api/v1/test-notification", r#"{"channel":"opps"}"#, 404, "'opps'"),
    ] {
        let (status, said, reached) = act(&mut rig, method, path, body).await;
        assert_eq!(status, code, "{method} {path} {body} {said}");
        assert!(said["error"].as_str().unwrap().contains(says), "{says} in {said}");
        assert_eq!(reached, None, "{method} {path} {body}");
    }
    let near = async |rig: &mut Rig, method: &str, path: &str, body: &str| {
        act(rig, method, path, body).await.1["did_you_mean"].clone()
    };
    let restart = "/api/v1/units/ngnix.service/restart";
    assert_eq!(near(&mut rig, "POST", restart, "").await[0], "nginx.service");
    assert_eq!(near(&mut rig, "DELETE", "/api/v1/silences/s9", "").await, json!([]));
    let test = near(&mut rig, "POST", "/api/v1/test-notification", r#"{"channel":"opps"}"#);
    assert_eq!(test.await, json!(["ops"]));
    let ack = near(&mut rig, "POST", "/api/v1/alerts/a15/acknowledge", "").await;
    assert!(ack.as_array().unwrap().contains(&json!("a11")), "{ack}");
}

#[tokio::test]
async fn only_who_may_sees_and_acts() {
    let rig = rig(sample::busy());
    let stranger = Peer::Unix { uid: rig.shared.uid + 12_345 };
    for path in ["alerts/a12", "silences", "channels"].map(|p| format!("/api/v1/{p}")) {
        assert_eq!(rig.get(&path).await.0, 401, "{path}");
        let (status, body) = text(rig.ask(stranger, request("GET", &path, &[], "")).await).await;
        assert_eq!(status, 200, "{path}");
        assert!(!body.contains("[emerg]"), "{path} {body}");
    }
    for (method, path) in [
        ("POST", "alerts/a12/acknowledge"),
        ("DELETE", "alerts/a12/acknowledge"),
        ("POST", "silences"),
        ("DELETE", "silences/s3"),
        ("POST", "units/nginx.service/restart"),
        ("POST", "test-notification"),
    ] {
        let path = format!("/api/v1/{path}");
        let evil = ("origin", "http://evil.example");
        for (peer, headers, code) in [
            (Peer::Tcp, vec![JSON], 401),
            (Peer::Tcp, vec![("authorization", "Bearer wrong"), JSON], 401),
            (stranger, vec![JSON], 403),
            (Peer::Tcp, vec![TOKEN, JSON, evil], 403),
            (Peer::Tcp, vec![TOKEN, ("content-type", "text/plain")], 415),
        ] {
            let response = rig.ask(peer, request(method, &path, &headers, "")).await;
            assert_eq!(response.status(), code, "{method} {path} {headers:?}");
        }
    }
    let form = request("POST", "/api/v1/silences", &[TOKEN], "");
    assert_eq!(rig.ask(Peer::Tcp, form).await.status(), 415);
}

#[tokio::test]
async fn a_test_waits_for_the_services_and_tells_what_they_said() {
    let quiet = rig(sample::busy());
    let ask = |body| request("POST", "/api/v1/test-notification", &[TOKEN, JSON], body);
    let (status, said) = text(quiet.ask(Peer::Tcp, ask("")).await).await;
    assert_eq!(status, 503, "{said}");

    let (sender, mut tests) = mpsc::channel(1);
    let (_publish, latest) = watch::channel(Arc::new(sample::busy()));
    let agent = AgentInfo { version: "0.1.0", url: String::new() };
    let access = Access { token: Token::new("s3cret"), hosts: Vec::new() };
    let shared = Shared::new(latest, mpsc::channel(1).0, agent, access).with_tests(sender);
    let shared = Arc::new(shared);
    let router = answer::router(shared.clone());
    let post = |body| answer::answer(&shared, router.clone(), Peer::Tcp, ask(body));
    let service = async {
        let asked = tests.recv().await.unwrap();
        let results = vec![
            ("ops".into(), Ok("200 OK: ok".into())),
            ("pager".into(), Err("401 Unauthorized".into())),
        ];
        asked.reply.send(results).unwrap();
        (asked.channel, asked.actor.0)
    };
    let (response, asked) = tokio::join!(post(""), service);
    assert_eq!(asked, (None, "holder of the API token".to_owned()));
    let (status, body) = text(response).await;
    assert_eq!(status, 200);
    assert_eq!(
        parsed(&body),
        json!({"results": [
            {"channel": "ops", "ok": true, "answer": "200 OK: ok"},
            {"channel": "pager", "ok": false, "answer": "401 Unauthorized"},
        ]})
    );

    // Only one at a time, and one whose asker is told when it comes to nothing.
    let service = async {
        let asked = tests.recv().await.unwrap();
        assert_eq!(asked.channel.as_deref(), Some("ops"));
    };
    let (response, ()) = tokio::join!(post(r#"{"channel":"ops"}"#), service);
    assert_eq!(response.status(), 503);
    drop(tests);
    let (status, body) = text(post("{}").await).await;
    assert_eq!(status, 503);
    assert!(body.contains("cannot send a test now"), "{body}");

    let none = rig(sample::healthy());
    let (status, body) = text(none.ask(Peer::Tcp, ask("")).await).await;
    assert_eq!(status, 409);
    assert!(body.contains("no channel is configured"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_test_may_take_longer_than_other_requests() {
    let (sender, mut tests) = mpsc::channel(1);
    let (_publish, latest) = watch::channel(Arc::new(sample::busy()));
    let agent = AgentInfo { version: "0.1.0", url: String::new() };
    let shared = Shared::new(latest, mpsc::channel(1).0, agent, Access::default());
    let shared = Arc::new(shared.with_tests(sender));
    let router = answer::router(shared.clone());
    let ask = || request("POST", "/api/v1/test-notification", &[JSON], "");
    let root = Peer::Unix { uid: 0 };
    let slow = async {
        let asked = tests.recv().await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        asked.reply.send(vec![("ops".into(), Ok("at last".into()))]).unwrap();
    };
    let (response, ()) = tokio::join!(answer::answer(&shared, router.clone(), root, ask()), slow);
    assert!(text(response).await.1.contains("at last"));
    // One that never answers ends all the same.
    let response = answer::answer(&shared, router, root, ask()).await;
    let (status, body) = text(response).await;
    assert_eq!(status, 503);
    assert!(body.contains("begun and not finished"), "{body}");
}

#[tokio::test]
async fn hostile_texts_are_json_and_nothing_else() {
    let rig = rig(sample::hostile());
    for path in ["alerts", "alerts/a1", "alerts/a0", "silences", "channels", "status"] {
        let response =
            rig.ask(Peer::Tcp, request("GET", &format!("/api/v1/{path}"), &[TOKEN], "")).await;
        assert_eq!(header(&response, "content-type"), "application/json");
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        let (status, body) = text(response).await;
        assert_eq!(status, 200, "{path}");
        assert!(!body.contains(['\u{1b}', '\n']), "{body}");
        parsed(&body);
    }
    let (status, body) = see(&rig, "/api/v1/alerts/%3Cscript%3E%1b").await;
    assert_eq!(
        (status, body["error"].as_str().unwrap()),
        (StatusCode::NOT_FOUND, "no alert is called '<script>\u{1b}'")
    );
}
