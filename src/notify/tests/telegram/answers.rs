//! What Telegram answers to a message, and what becomes of it.

use super::*;

/// The outcome, the requests, and the time limit of a try cut short.
fn sent(
    replies: impl IntoIterator<Item = Reply>,
    chats: &[i64],
) -> (Result<String, SendError>, Vec<Request>) {
    let receiver = Receiver::new(replies);
    let mut settings = settings(&receiver);
    settings.chats = chats.iter().map(|id| Chat::Id(*id)).collect();
    settings.timeout = Duration::from_secs(3);
    let result = block(telegram(settings).send(&opened()));
    let host = receiver.url("");
    let hidden = |text: String| {
        assert!(!text.contains(KEY) && !text.contains(TOKEN), "{text}");
        text.replace(&host, "SERVER")
    };
    let result = match result {
        Ok(text) => Ok(hidden(text)),
        Err(error) => Err(SendError { text: hidden(error.text), ..error }),
    };
    (result, receiver.requests())
}

fn error(reply: Reply) -> SendError {
    sent([reply], &[GROUP]).0.unwrap_err()
}

#[test]
fn each_answer_says_whether_to_try_again() {
    let later = |seconds| Retry::Later(Some(Duration::from_secs(seconds)));
    let garbage = |head| Reply::new(head, &format!("<h1>blocked</h1> /bot{TOKEN}/sendMessage"));
    let cases: Vec<(Reply, Retry, &str)> = vec![
        (
            no(401, "Unauthorized", Value::Null),
            Retry::Stop,
            "SERVER answered 401 Unauthorized; the token is wrong or was revoked: ask @BotFather \
             for it (/mybots, API Token) and set `token`",
        ),
        (
            no(404, "Not Found", Value::Null),
            Retry::Stop,
            "SERVER answered 404 Not Found; the token is wrong or was revoked: ask @BotFather for \
             it (/mybots, API Token) and set `token`",
        ),
        (
            no(403, "Forbidden: bot was blocked by the user", Value::Null),
            Retry::Stop,
            "chat -1001234567890: SERVER answered 403 Forbidden: bot was blocked by the user; the \
             person has blocked the bot: they must unblock it, or take them out of `chat_id`",
        ),
        (
            no(403, "Forbidden: bot was kicked from the supergroup chat", Value::Null),
            Retry::Stop,
            "chat -1001234567890: SERVER answered 403 Forbidden: bot was kicked from the \
             supergroup chat; add the bot to the group or channel again, or take it out of \
             `chat_id`",
        ),
        (
            no(400, "Bad Request: chat not found", Value::Null),
            Retry::Stop,
            "chat -1001234567890: SERVER answered 400 Bad Request: chat not found; check \
             `chat_id`; a person must write to the bot first, a group must have it as member",
        ),
        (
            no(429, "Too Many Requests: retry after 17", json!({ "retry_after": 17 })),
            later(17),
            "chat -1001234567890: SERVER answered 429 Too Many Requests: retry after 17",
        ),
        (
            Reply::new("429 No\r\nRetry-After: 9", "{\"ok\":false,\"error_code\":429}"),
            later(9),
            "chat -1001234567890: SERVER answered error 429",
        ),
        (
            no(500, "Internal Server Error", Value::Null),
            Retry::Later(None),
            "chat -1001234567890: SERVER answered 500 Internal Server Error",
        ),
        (
            garbage("200 OK"),
            Retry::Later(None),
            "SERVER answered 200 OK: <h1>blocked</h1> /bot[…]/sendMessage; this is not how Telegram \
             answers: check `api`, and the proxy if there is one",
        ),
        (
            garbage("502 Bad\r\nRetry-After: 3"),
            later(3),
            "SERVER answered 502 Bad Gateway: <h1>blocked</h1> /bot[…]/sendMessage; this is not how \
             Telegram answers: check `api`, and the proxy if there is one",
        ),
        (
            Reply::new("302 Found\r\nLocation: http://127.0.0.1:1/", ""),
            Retry::Stop,
            "SERVER answered 302 Found; redirects are not followed: set `api` to the final address",
        ),
        (
            Reply::new("404 No", ""),
            Retry::Stop,
            "SERVER answered 404 Not Found; this is not how Telegram answers: check `api`, and the \
             proxy if there is one",
        ),
        (Reply::Hang, Retry::Later(None), "SERVER did not answer within 3 s"),
    ];
    for (reply, retry, text) in cases {
        let error = error(reply);
        assert_eq!((error.retry, error.text.as_str()), (retry, text));
    }
    let error = error(Reply::Reset);
    assert_eq!(error.retry, Retry::Later(None));
    assert!(error.text.starts_with("the connection broke to SERVER"), "{error}");
}

#[test]
fn an_answer_that_breaks_off_after_its_yes_counts() {
    let broken = Reply::Bytes(
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"ok\":true,\"result\":{\"mess".to_vec(),
    );
    assert_eq!(sent([broken], &[GROUP]).0, Ok(format!("chat {GROUP} has it")));
}

#[test]
fn what_is_not_taken_with_markup_goes_out_plainly_once() {
    let entities = || no(400, "Bad Request: can't parse entities: Unsupported tag", Value::Null);
    let (result, requests) = sent([entities(), yes()], &[GROUP]);
    assert_eq!(
        result.unwrap(),
        "chat -1001234567890 has it, plainly, for 400 Bad Request: can't parse entities: \
         Unsupported tag"
    );
    let [first, second] = &requests[..] else { panic!() };
    let (first, second) = (first.json(), second.json());
    assert_eq!(first["reply_markup"], second["reply_markup"], "buttons stay");
    assert!(second.get("parse_mode").is_none());
    let text = second["text"].as_str().unwrap();
    assert!(text.starts_with("🔴 [CRITICAL] web1: nginx.service: failed"), "{text}");
    assert!(text.contains("\ncannot bind to 0.0.0.0:80: address in use\n"), "{text}");

    let (result, requests) = sent([entities(), entities()], &[GROUP]);
    assert_eq!(requests.len(), 2, "once");
    assert_eq!(result.unwrap_err().retry, Retry::Never);

    let (result, requests) =
        sent([no(400, "Bad Request: BUTTON_DATA_INVALID", Value::Null), yes()], &[GROUP]);
    assert!(result.is_ok());
    assert!(requests[1].json().get("reply_markup").is_none(), "they may be at fault");
}

#[test]
fn a_group_that_moved_is_followed() {
    let moved = no(
        400,
        "Bad Request: group chat was upgraded to a supergroup chat",
        json!({ "migrate_to_chat_id": -1009 }),
    );
    let receiver = Receiver::new([moved, yes()]);
    let mut settings = settings(&receiver);
    settings.chats = vec![Chat::Id(-5)];
    let channel = telegram(settings);
    block(async {
        assert_eq!(channel.send(&opened()).await.unwrap(), "chat -1009 has it");
        let next = Outgoing { key: "next".into(), ..opened() };
        channel.send(&next).await.unwrap();
    });
    let ids: Vec<Value> = receiver.requests().iter().map(|r| r.json()["chat_id"].clone()).collect();
    assert_eq!(ids, [json!(-5), json!(-1009), json!(-1009)], "from then on");
}

#[test]
fn every_chat_gets_a_message_once_however_often_it_is_tried() {
    let busy = || no(429, "Too Many Requests", json!({ "retry_after": 2 }));
    let receiver = Receiver::new([yes(), busy(), yes(), Reply::Reset, yes()]);
    let mut settings = settings(&receiver);
    settings.chats = vec![Chat::Id(1), Chat::Id(2), Chat::Id(3)];
    let channel = telegram(settings);
    let message = opened();
    block(async {
        let error = channel.send(&message).await.unwrap_err();
        assert_eq!(error.retry, Retry::Later(Some(Duration::from_secs(2))));
        assert!(error.text.starts_with("chat 2: "), "{error}");
        let error = channel.send(&message).await.unwrap_err();
        assert_eq!(error.retry, Retry::Later(None));
        let told = channel.send(&message).await.unwrap();
        assert_eq!(told, "chat 1 has it; chat 2 has it; chat 3 has it");
        assert_eq!(channel.send(&message).await.unwrap(), told, "and not again");
    });
    let ids: Vec<i64> =
        receiver.requests().iter().map(|r| r.json()["chat_id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 3, 2, 2]);
}

#[test]
fn a_chat_that_is_gone_holds_up_no_other() {
    let blocked = || no(403, "Forbidden: bot was blocked by the user", Value::Null);
    let receiver = Receiver::new([blocked(), yes(), yes(), blocked(), yes(), yes()]);
    let mut settings = settings(&receiver);
    settings.chats = vec![Chat::Id(1), Chat::Id(2)];
    let channel = telegram(settings);
    let key = |key: &str| Outgoing { key: key.into(), ..opened() };
    let test =
        |key: &str| Outgoing { key: key.into(), ..sample::outgoing(sample::bare(Gist::Test)) };
    block(async {
        let told = channel.send(&key("1")).await.unwrap();
        assert!(told.starts_with("chat 2 has it; chat 1: "), "{told}");
        channel.send(&key("2")).await.unwrap();
        channel.send(&test("3")).await.unwrap();
        assert_eq!(channel.send(&test("4")).await.unwrap(), "chat 1 has it; chat 2 has it");
        channel.send(&key("5")).await.unwrap();
    });
    let ids: Vec<i64> =
        receiver.requests().iter().map(|r| r.json()["chat_id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 2, 1, 2, 1, 2, 1, 2], "a test asks again, and so it heals");
}

#[tokio::test(start_paused = true)]
async fn messages_to_a_chat_are_a_second_apart() {
    use crate::notify::telegram::Chats;
    let chats = Chats::new(vec![Chat::Id(1), Chat::Id(2)], Duration::from_secs(1));
    let start = tokio::time::Instant::now();
    chats.turn(0).await;
    chats.turn(1).await;
    assert_eq!(start.elapsed(), Duration::ZERO, "the first to each goes at once");
    chats.turn(0).await;
    assert_eq!(start.elapsed().as_secs(), 1);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = start.elapsed();
    chats.turn(0).await;
    assert_eq!(start.elapsed(), before);
}
