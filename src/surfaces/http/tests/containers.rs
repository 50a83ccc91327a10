//! Containers over the API, and who may read their logs.

use super::*;
use serde_json::Value;

async fn json(response: Response) -> (StatusCode, Value) {
    let (status, body) = text(response).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}")))
}

#[tokio::test]
async fn containers_are_listed_and_looked_up_by_name() {
    let rig = rig(sample::containers());
    let ask = |path: &str| request("GET", path, &[TOKEN], "");
    let (status, body) = rig.get("/api/v1/containers").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
    let (_, all) = json(rig.ask(Peer::Tcp, ask("/api/v1/containers")).await).await;
    let names: Vec<&str> = all["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["container"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["flaky", "job", "podman/cache", "shop-db-1", "web"]);

    let (status, db) = json(rig.ask(Peer::Tcp, ask("/api/v1/containers/shop-db-1")).await).await;
    assert_eq!(status, 200);
    let db_seen = &db["check"]["container"];
    assert_eq!(db_seen["project"], "shop");
    assert_eq!(db_seen["labels"]["traefik.http.auth"], "admin:$apr1$");
    assert_eq!(db["alerts"][0]["id"], "a21");
    let (_, web) = json(rig.ask(Peer::Tcp, ask("/api/v1/containers/web")).await).await;
    assert_eq!(web["holds"][0]["unit"], "container:web");
    let path = "/api/v1/containers/podman%2Fcache";
    let (_, cache) = json(rig.ask(Peer::Tcp, ask(path)).await).await;
    assert_eq!(cache["check"]["container"]["engine"], "podman");

    for path in ["/api/v1/containers/wep", "/api/v1/containers/wep/logs"] {
        let (status, none) = json(rig.ask(Peer::Tcp, ask(path)).await).await;
        assert_eq!((status, &none["did_you_mean"][0]), (StatusCode::NOT_FOUND, &"web".into()));
    }
}

#[tokio::test]
async fn what_is_log_text_is_not_on_the_open_paths() {
    let rig = rig(sample::containers());
    for path in ["/health/detailed", "/metrics", "/"] {
        let (_, body) = rig.get(path).await;
        assert!(!body.contains("apr1") && !body.contains("127.0.0.1:5432"), "{path}: {body}");
    }
    let other = Peer::Unix { uid: 12_345 };
    let (status, body) =
        text(rig.ask(other, request("GET", "/api/v1/containers", &[], "")).await).await;
    assert_eq!(status, 200);
    assert!(!body.contains("apr1") && body.contains("shop-db-1"), "{body}");
}

fn with_logs(mut rig: Rig) -> (Rig, mpsc::Receiver<LogRequest>) {
    let (logs, asked) = mpsc::channel(1);
    let Rig { publish, .. } = &rig;
    let (sender, _) = mpsc::channel(1);
    let agent = AgentInfo { version: "0.1.0", url: "http://127.0.0.1:8080".into() };
    let access = Access { token: Token::new("s3cret"), hosts: Vec::new() };
    let shared = Shared::new(publish.subscribe(), sender, agent, access).with_logs(logs);
    rig.shared = Arc::new(shared);
    rig.router = answer::router(rig.shared.clone());
    (rig, asked)
}

#[tokio::test]
async fn a_log_is_for_those_who_may_read_logs() {
    let (rig, mut asked) = with_logs(rig(sample::containers()));
    let path = "/api/v1/containers/shop-db-1/logs?lines=20";
    assert_eq!(rig.get(path).await.0, StatusCode::UNAUTHORIZED);
    let other = rig.ask(Peer::Unix { uid: 12_345 }, request("GET", path, &[], "")).await;
    assert_eq!(other.status(), StatusCode::FORBIDDEN);
    let reading = rig.ask(Peer::Tcp, request("GET", path, &[TOKEN], ""));
    let answering = async {
        let request = asked.recv().await.unwrap();
        assert_eq!((&*request.engine, request.lines, request.id.len()), ("docker", 20, 64));
        request.reply.send(Ok(vec!["one".into(), "two\u{1b}[2J".into()])).unwrap();
    };
    let (response, ()) = tokio::join!(reading, answering);
    let (status, body) = text(response).await;
    assert_eq!(status, 200);
    assert!(body.starts_with(r#"{"container":"shop-db-1","lines":["one","two"#), "{body}");
    assert!(!body.contains('\u{1b}'), "{body}");
}

#[tokio::test]
async fn a_log_that_cannot_be_read_says_why() {
    let (rig, mut asked) = with_logs(rig(sample::containers()));
    let ask =
        |query: &str| request("GET", &format!("/api/v1/containers/web/logs{query}"), &[TOKEN], "");
    for query in ["?lines=0", "?lines=1001", "?lines=x", "?line=3"] {
        let response = rig.ask(Peer::Tcp, ask(query)).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
    }
    for (refusal, wanted) in [
        (LogRefusal::Removed as fn(String) -> _, StatusCode::NOT_FOUND),
        (LogRefusal::NotKept, StatusCode::CONFLICT),
        (LogRefusal::Failed, StatusCode::BAD_GATEWAY),
    ] {
        let answering = async {
            let request = asked.recv().await.unwrap();
            assert_eq!(request.lines, 100);
            request.reply.send(Err(refusal("the log driver none keeps no log".into()))).unwrap();
        };
        let (response, ()) = tokio::join!(rig.ask(Peer::Tcp, ask("")), answering);
        let (status, body) = text(response).await;
        assert_eq!(status, wanted);
        assert!(body.contains("keeps no log"), "{body}");
    }
    // Whoever should answer has gone.
    let dropping = async { drop(asked.recv().await) };
    let (response, ()) = tokio::join!(rig.ask(Peer::Tcp, ask("")), dropping);
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    drop(asked);
    let response = rig.ask(Peer::Tcp, ask("")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_container_is_restarted_by_who_may_act() {
    let mut rig = rig(sample::containers());
    let path = "/api/v1/containers/podman%2Fcache/restart";
    let refused = rig.ask(Peer::Tcp, request("POST", path, &[JSON], "")).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let Rig { shared, router, commands, .. } = &mut rig;
    let asking = answer::answer(
        shared,
        router.clone(),
        Peer::Tcp,
        request("POST", path, &[TOKEN, JSON], ""),
    );
    let driver = async {
        let asked = commands.recv().await.unwrap();
        let Act::Restart { unit } = asked.command.act else { panic!("{:?}", asked.command) };
        assert_eq!(&*unit, "container:podman/cache");
        asked.reply.send(Ok("done".into())).unwrap();
    };
    let (response, ()) = tokio::join!(asking, driver);
    assert_eq!(text(response).await, (StatusCode::OK, r#"{"message":"done"}"#.into()));
    let missing = request("POST", "/api/v1/containers/nginx.service/restart", &[TOKEN, JSON], "");
    assert_eq!(rig.ask(Peer::Tcp, missing).await.status(), StatusCode::NOT_FOUND);
}
