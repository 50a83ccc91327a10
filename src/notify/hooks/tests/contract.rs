//! Requests byte for byte, and what answers mean.

use std::io::Write;

use super::*;
use crate::notify::Retry;
use crate::outbound::tests::receiver::{Receiver, Reply, Request, block};

fn ok() -> Receiver {
    Receiver::new([Reply::new("204 No Content", "")])
}

fn hook(kind: &str, url: &str, more: &str) -> Arc<dyn Hook> {
    one(&format!("[[hook]]\nname = \"registry\"\ntype = \"{kind}\"\nurl = \"{url}\"\n{more}"))
}

/// The only request that comes of a call: `POST /path`, and its body.
fn asked(
    receiver: &Receiver,
    hook: &Arc<dyn Hook>,
    outgoing: &Outgoing,
) -> (String, String, Request) {
    receiver.restart([Reply::new("204 No Content", "")]);
    block(hook.tell(outgoing)).unwrap();
    let mut requests = receiver.requests();
    assert_eq!(requests.len(), 1);
    let request = requests.remove(0);
    let body = String::from_utf8(request.body.clone()).unwrap();
    (format!("{} {}", request.method, request.target), body, request)
}

const ID: &str = "4f5a7c10b2d94e6e8a1f0c3b5d7e9f1123456789abcdef0123456789abcdef01";

#[test]
fn a_discovery_service_is_told_byte_for_byte() {
    let receiver = ok();
    let hook = hook("discovery", &receiver.url(""), "");
    let (line, body, request) =
        asked(&receiver, &hook, &outgoing(Transition::Started, container()));
    assert_eq!(line, "POST /registry/endpoints");
    assert_eq!(
        body,
        format!(
            r#"{{"id":"{ID}","image_id":"nginx:alpine","host":"web1","port":8000,"caps":{{"cpu":"0.5","mem":"256m"}}}}"#
        )
    );
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["idempotency-key"], "0011-h7");
    assert!(!request.headers.contains_key("webhook-id"));
    for transition in [Transition::Stopped, Transition::Died] {
        let (line, body, request) = asked(&receiver, &hook, &outgoing(transition, container()));
        assert_eq!(line, format!("PUT /registry/endpoints/{ID}/status?status=DOWN"));
        assert_eq!(body, "");
        assert!(!request.headers.contains_key("content-type"));
        assert_eq!(request.headers["content-length"], "0", "some servers insist on it");
    }
    let (line, body, _) = asked(&receiver, &hook, &outgoing(Transition::Removed, container()));
    assert_eq!((&*line, &*body), (&*format!("DELETE /registry/endpoints/{ID}"), ""));
}

#[test]
fn the_path_of_a_discovery_service_stays() {
    let receiver = ok();
    for (target, path) in [
        ("", "/registry/endpoints"),
        ("/", "/registry/endpoints"),
        ("/v1", "/v1/registry/endpoints"),
        ("/v1/x/", "/v1/x/registry/endpoints"),
        ("/v1?key=a%20b#top", "/v1/registry/endpoints?key=a%20b"),
    ] {
        let hook = hook("discovery", &receiver.url(target), "");
        let (line, ..) = asked(&receiver, &hook, &outgoing(Transition::Started, container()));
        assert_eq!(line, format!("POST {path}"));
    }
    let hook = hook("discovery", &receiver.url("/v1/?key=a%20b"), "");
    let (line, ..) = asked(&receiver, &hook, &outgoing(Transition::Died, container()));
    assert_eq!(line, format!("PUT /v1/registry/endpoints/{ID}/status?key=a%20b&status=DOWN"));
}

#[test]
fn what_a_container_may_use_is_written_shortly_and_exactly() {
    let receiver = ok();
    let hook = hook("discovery", &receiver.url(""), "");
    for (cpus, memory, wanted) in [
        (0.5, 256 << 20, r#"{"cpu":"0.5","mem":"256m"}"#),
        (4.0, 16 << 30, r#"{"cpu":"4","mem":"16384m"}"#),
        (0.1 + 0.2, 1536, r#"{"cpu":"0.3","mem":"1536"}"#),
        (1.0 / 3.0, 1025 << 10, r#"{"cpu":"0.333333333","mem":"1025k"}"#),
        (128.0, 16_331_736 << 10, r#"{"cpu":"128","mem":"16331736k"}"#),
        (0.000_000_001, 1, r#"{"cpu":"0.000000001","mem":"1"}"#),
        (f64::NAN, 0, r#"{"cpu":"0","mem":"0m"}"#),
        (f64::INFINITY, u64::MAX, r#"{"cpu":"0","mem":"18446744073709551615"}"#),
        (-1.0, 6 << 20, r#"{"cpu":"0","mem":"6m"}"#),
    ] {
        let container = HookContainer { cpus, memory, port: None, ..container() };
        let (_, body, _) = asked(&receiver, &hook, &outgoing(Transition::Started, container));
        assert!(body.ends_with(&format!(r#""port":0,"caps":{wanted}}}"#)), "{body}");
    }
}

#[test]
fn what_has_no_id_of_its_own_is_not_asked_for() {
    let receiver = ok();
    let hook = hook("discovery", &receiver.url(""), "");
    for id in ["", ".", ".."] {
        let container = HookContainer { id: id.into(), ..container() };
        let error = block(hook.tell(&outgoing(Transition::Removed, container))).unwrap_err();
        assert_eq!(error.retry, Retry::Never);
    }
    assert_eq!(receiver.requests().len(), 0, "no DELETE of all");
}

/// One that tries to break out of wherever it is put.
fn hostile() -> HookContainer {
    HookContainer {
        id: "../../admin?x=1#\r\nX-Evil: 1/\u{1F4A5}".into(),
        name: "\"},{\"a\":\"\\\u{0}\u{2028}</script>".into(),
        image: "a\"b\\c\nd\u{7f}é:1".into(),
        labels: [("k", "{{ 7 * 7 }}\r\n\""), ("\"}\\", "x")]
            .map(|(k, v)| (k.into(), v.into()))
            .into(),
        ..container()
    }
}

#[test]
fn hostile_texts_stay_where_they_are_put() {
    let receiver = ok();
    let id = "..%2F..%2Fadmin%3Fx=1%23X-Evil:%201%2F%F0%9F%92%A5";
    let registry = hook("discovery", &receiver.url("/v1"), "");
    let (line, _, request) = asked(&receiver, &registry, &outgoing(Transition::Removed, hostile()));
    assert_eq!(line, format!("DELETE /v1/registry/endpoints/{id}"));
    assert!(!request.headers.contains_key("x-evil"));
    let (line, ..) = asked(&receiver, &registry, &outgoing(Transition::Died, hostile()));
    assert_eq!(line, format!("PUT /v1/registry/endpoints/{id}/status?status=DOWN"));
    let billing = hook("billing", &receiver.url("/events"), "");
    let custom = hook("http", &receiver.url("/x"), "");
    let own = hook(
        "http",
        &receiver.url("/{{ container.name }}/end?l={{ container.labels.k }}&n=1"),
        "template = { body = '[{{ container.labels | json }},{{ container.image | json }}]' }",
    );
    let (_, body, _) = asked(&receiver, &registry, &outgoing(Transition::Started, hostile()));
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&value["id"], &value["image_id"]),
        (&(*hostile().id).into(), &(*hostile().image).into())
    );
    let (_, body, _) = asked(&receiver, &billing, &outgoing(Transition::Started, hostile()));
    assert_eq!(
        body,
        format!(
            r#"{{"event":"started","container_id":{},"image":"a\"b\\c\nd{}é:1","timestamp":"2025-08-19T07:17:22.193+00:00","host":"web1"}}"#,
            serde_json::to_string(&*hostile().id).unwrap(),
            '\u{7f}',
        )
    );
    let (_, body, _) = asked(&receiver, &custom, &outgoing(Transition::Died, hostile()));
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(value["container"]["labels"], serde_json::json!(hostile().labels));
    let (line, body, _) = asked(&receiver, &own, &outgoing(Transition::Died, hostile()));
    assert_eq!(
        line,
        "POST /%22%7D%2C%7B%22a%22%3A%22%5C%00%E2%80%A8%3C%2Fscript%3E/end\
         ?l=%7B%7B%207%20%2A%207%20%7D%7D%0D%0A%22&n=1"
    );
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(value, serde_json::json!([hostile().labels, hostile().image]));
}

#[test]
fn a_billing_service_is_told_byte_for_byte() {
    let receiver = ok();
    for (target, path) in [("", "/"), ("/events/", "/events/"), ("/bill?t=1", "/bill?t=1")] {
        let hook = hook("billing", &receiver.url(target), "token = \"t0k3n\"");
        for (transition, event) in [
            (Transition::Started, "started"),
            (Transition::Stopped, "stopped"),
            (Transition::Died, "stopped"),
            (Transition::Removed, "removed"),
        ] {
            let (line, body, request) = asked(&receiver, &hook, &outgoing(transition, container()));
            assert_eq!(line, format!("POST {path}"));
            assert_eq!(
                body,
                format!(
                    r#"{{"event":"{event}","container_id":"{ID}","image":"nginx:alpine","timestamp":"2025-08-19T07:17:22.193+00:00","host":"web1"}}"#
                )
            );
            assert_eq!(request.headers["content-type"], "application/json");
            assert_eq!(request.headers["idempotency-key"], "0011-h7");
            assert_eq!(request.headers["authorization"], "Bearer t0k3n");
        }
    }
}

#[test]
fn any_service_is_told_all_or_what_the_user_says() {
    let receiver = ok();
    let plain = hook("http", &receiver.url("/all"), "headers = { X-Key = \"k3y\" }");
    let container = HookContainer { exit_code: Some(137), ..container() };
    let (line, body, request) =
        asked(&receiver, &plain, &outgoing(Transition::Died, container.clone()));
    assert_eq!(line, "POST /all");
    assert_eq!(
        body,
        format!(
            r#"{{"container":{{"cpus":0.5,"engine":"docker","exit_code":137,"id":"{ID}","image":"nginx:alpine","labels":{{"team":"shop"}},"memory":268435456,"name":"web","port":8000}},"event":"died","hook":"registry","host":"web1","id":"0011-h7","timestamp":"2025-08-19T07:17:22.193+00:00"}}"#
        )
    );
    assert_eq!(request.headers["x-key"], "k3y");
    assert_eq!(request.headers["webhook-id"], "0011-h7");
    assert_eq!(request.headers["idempotency-key"], "0011-h7");
    let own = hook(
        "http",
        &receiver.url("/c/{{ container.name }}{% if event == 'died' %}/down{% endif %}"),
        "method = \"PUT\"\n[hook.template]\nbody = \"{{ event }} {{ container.labels.nothing }}{{ container.exit_code }}\"\n\
         content_type = \"text/plain\"",
    );
    let (line, body, request) =
        asked(&receiver, &own, &outgoing(Transition::Died, container.clone()));
    assert_eq!((&*line, &*body), ("PUT /c/web/down", "died 137"));
    assert_eq!(request.headers["content-type"], "text/plain");
    let bare = hook("http", &receiver.url("/{{ container.id }}"), "method = \"DELETE\"");
    let (line, body, _) =
        asked(&receiver, &bare, &outgoing(Transition::Removed, container.clone()));
    assert_eq!((&*line, &*body), (&*format!("DELETE /{ID}"), ""));
    // What would lead elsewhere is given up.
    let two =
        hook("http", &receiver.url("/{{ container.labels.a }}{{ container.labels.b }}/x"), "");
    let dots = ["a", "b"].map(|key| (key.to_owned(), ".".to_owned())).into();
    let dots = HookContainer { labels: dots, ..container.clone() };
    let error = block(two.tell(&outgoing(Transition::Started, dots))).unwrap_err();
    assert_eq!(error.retry, Retry::Never, "{}", error.text);
    let up = HookContainer { id: "..".into(), ..container };
    let error = block(bare.tell(&outgoing(Transition::Removed, up))).unwrap_err();
    assert_eq!(error.retry, Retry::Never);
    assert!(error.text.contains("the template of the URL failed"), "{}", error.text);
}

#[test]
fn what_a_receiver_knows_already_is_told() {
    let receiver = ok();
    let registry = hook("discovery", &receiver.url("/v1"), "");
    let billing = hook("billing", &receiver.url("/b"), "");
    use Transition::{Died, Removed, Started, Stopped};
    for (hook, transition, status, told) in [
        (&registry, Started, "409 Conflict", Ok(())),
        (&registry, Started, "404 Not Found", Err(Retry::Stop)),
        (&registry, Started, "410 Gone", Err(Retry::Stop)),
        (&registry, Stopped, "404 Not Found", Ok(())),
        (&registry, Died, "410 Gone", Ok(())),
        (&registry, Died, "409 Conflict", Err(Retry::Never)),
        (&registry, Removed, "404 Not Found", Ok(())),
        (&registry, Removed, "410 Gone", Ok(())),
        (&registry, Removed, "400 Bad Request", Err(Retry::Never)),
        (&billing, Started, "409 Conflict", Ok(())),
        (&billing, Removed, "404 Not Found", Err(Retry::Stop)),
        (&billing, Stopped, "400 Bad Request", Err(Retry::Never)),
        (&billing, Stopped, "422 Unprocessable Content", Err(Retry::Never)),
        (&billing, Stopped, "401 Unauthorized", Err(Retry::Stop)),
        (&billing, Stopped, "500 Oh No", Err(Retry::Later(None))),
        (
            &billing,
            Stopped,
            "429 Too Many\r\nRetry-After: 7",
            Err(Retry::Later(Some(std::time::Duration::from_secs(7)))),
        ),
    ] {
        receiver.restart([Reply::new(status, "no: /v1/registry/endpoints")]);
        let result = block(hook.tell(&outgoing(transition, container())));
        let retry = result.as_ref().map(drop).map_err(|error| error.retry);
        assert_eq!(retry, told, "{transition}: {status}");
    }
}

#[test]
fn a_redirect_is_not_followed_and_secrets_are_not_repeated() {
    let elsewhere = ok();
    let answer = format!("307 Temporary Redirect\r\nLocation: {}", elsewhere.url("/"));
    let receiver = Receiver::new([Reply::new(&answer, "Bearer t0k3n-of-mine, k3y-of-mine")]);
    let hook = hook(
        "billing",
        &receiver.url("/secret-path"),
        "token = \"t0k3n-of-mine\"\nheaders = { X-Key = \"k3y-of-mine\" }",
    );
    let error = block(hook.tell(&outgoing(Transition::Started, container()))).unwrap_err();
    assert_eq!(error.retry, Retry::Stop);
    assert!(error.text.contains("redirects are not followed"), "{}", error.text);
    for secret in ["t0k3n", "k3y-of", "secret-path"] {
        assert!(!error.text.contains(secret), "{}", error.text);
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

#[test]
fn no_tls_is_tried_again_and_a_silent_receiver_waits_for_no_longer_than_the_limit() {
    let receiver = Receiver::new([Reply::Hang]);
    let silent = hook("billing", &receiver.url("/b"), "timeout = \"1s\"");
    let error = block(silent.tell(&outgoing(Transition::Started, container()))).unwrap_err();
    assert_eq!(error.retry, Retry::Later(None));
    assert!(error.text.contains("did not answer within 1 s"), "{}", error.text);
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/b", plain.local_addr().unwrap());
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let tls = hook("billing", &url, "");
    let error = block(tls.tell(&outgoing(Transition::Started, container()))).unwrap_err();
    answer.join().unwrap();
    assert_eq!(error.retry, Retry::Later(None));
    assert!(error.text.contains("it does not speak TLS there"), "{}", error.text);
}
