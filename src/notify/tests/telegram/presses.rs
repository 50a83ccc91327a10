//! Presses of buttons: what is done, what is answered, and what is asked of Telegram meanwhile.

use super::*;
use crate::engine::event::{Act, Actor, Command};
use crate::engine::matcher::Matcher;

/// What keepwell was asked to do.
type Asked = Arc<Mutex<Vec<Command>>>;

/// Answers each command with what `answer` makes of it.
fn acts(answer: fn(usize) -> Result<String, String>) -> (Acts, Asked) {
    let asked = Asked::default();
    let kept = asked.clone();
    let acts: Acts = Arc::new(move |command| {
        let mut kept = kept.lock().unwrap();
        kept.push(command);
        let answer = answer(kept.len());
        Box::pin(async move { answer })
    });
    (acts, asked)
}

fn fine(_: usize) -> Result<String, String> {
    Ok("a7 (nginx.service) is acknowledged".into())
}

/// The buttons of a message, by their labels.
fn buttons_of(message: &Outgoing, change: impl FnOnce(&mut Settings)) -> Value {
    let receiver = Receiver::new([yes()]);
    let mut settings = settings(&receiver);
    change(&mut settings);
    block(telegram(settings).send(message)).unwrap();
    receiver.requests()[0].json()["reply_markup"].clone()
}

fn data_of(markup: &Value, label: &str) -> String {
    let rows = markup["inline_keyboard"].as_array().unwrap().iter();
    let mut buttons = rows.flat_map(|row| row.as_array().unwrap());
    let button = buttons.find(|button| button["text"] == label).expect(label);
    button["callback_data"].as_str().unwrap().to_owned()
}

/// An update about a press, as Telegram gives it.
fn press(update: i64, user: i64, chat: i64, markup: &Value, data: &str) -> Value {
    json!({
        "update_id": update,
        "callback_query": {
            "id": format!("q{update}"),
            "from": { "id": user, "is_bot": false, "first_name": "Anna", "username": "anna" },
            "message": {
                "message_id": 99,
                "date": 1_795_243_283,
                "chat": { "id": chat, "type": "supergroup", "title": "Ops" },
                "text": "…",
                "reply_markup": markup,
            },
            "chat_instance": "1",
            "data": data,
        },
    })
}

fn gone() -> Reply {
    no(401, "Unauthorized", Value::Null)
}

/// Listens until the receiver has had so many requests.
fn until(receiver: &Receiver, count: usize, listening: impl Future<Output = ()>) {
    block(async {
        let seen = async {
            for _ in 0..6000 {
                if receiver.requests().len() >= count {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            panic!("{} requests of {count}", receiver.requests().len());
        };
        tokio::select! {
            () = listening => panic!("it never ends by itself"),
            () = seen => {}
        }
    });
}

/// Listens until the script says that the token is wrong; gives the requests: method and body.
fn listened(
    replies: impl IntoIterator<Item = Reply>,
    acts: Acts,
    change: impl FnOnce(&mut Settings),
) -> Vec<(String, Value)> {
    let replies: Vec<Reply> = replies.into_iter().collect();
    let count = replies.len();
    let receiver = Receiver::new(replies);
    let mut settings = settings(&receiver);
    change(&mut settings);
    let listening = telegram(settings).listen(acts).expect("somebody may press");
    until(&receiver, count, listening);
    let requests = receiver.requests();
    requests.iter().map(|r| (method(r).to_owned(), r.json())).collect()
}

/// The first answer is that of a poll that was open before anything was pressed.
fn script(updates: &[Value], after: impl IntoIterator<Item = Reply>) -> Vec<Reply> {
    let mut all = vec![
        ok(json!([{ "update_id": 10, "message": {} }])),
        ok(json!(updates)),
        // Telegram is told that they have arrived.
        ok(json!([])),
    ];
    all.extend(after);
    all.push(gone());
    all
}

fn methods(requests: &[(String, Value)]) -> Vec<&str> {
    requests.iter().map(|(method, _)| method.as_str()).collect()
}

#[test]
fn a_press_is_carried_out_answered_and_told_to_the_chat() {
    let markup = buttons_of(&opened(), |_| ());
    let data = data_of(&markup, "Acknowledge");
    let (acts, asked) = acts(fine);
    let presses = [press(11, ANNA, GROUP, &markup, &data)];
    let requests = listened(script(&presses, [ok(json!(true)), yes(), yes()]), acts, |_| ());
    let poll = |timeout: u64, offset: Option<i64>| {
        let mut body =
            json!({ "timeout": timeout, "limit": 20, "allowed_updates": ["callback_query"] });
        if let Some(offset) = offset {
            body["offset"] = json!(offset);
        }
        ("getUpdates".to_owned(), body)
    };
    let left = json!([[
        { "text": "Silence 1 h", "callback_data": data_of(&markup, "Silence 1 h") },
        { "text": "Restart", "callback_data": data_of(&markup, "Restart") },
    ]]);
    let expected = [
        poll(2, None),
        poll(2, Some(11)),
        poll(0, Some(12)),
        (
            "answerCallbackQuery".into(),
            json!({
                "callback_query_id": "q11",
                "text": "a7 (nginx.service) is acknowledged",
                "show_alert": false,
            }),
        ),
        (
            "editMessageReplyMarkup".into(),
            json!({
                "chat_id": GROUP,
                "message_id": 99,
                "reply_markup": { "inline_keyboard": left },
            }),
        ),
        (
            "sendMessage".into(),
            json!({
                "chat_id": GROUP,
                "text": format!(
                    "Acknowledged by @\u{2060}anna (id {ANNA}): a7 (nginx.service) is acknowledged"
                ),
                "reply_parameters": { "message_id": 99, "allow_sending_without_reply": true },
                "link_preview_options": { "is_disabled": true },
                "disable_notification": true,
            }),
        ),
        poll(2, Some(12)),
    ];
    for (n, (request, expected)) in requests.iter().zip(&expected).enumerate() {
        assert_eq!(request, expected, "request {n}");
    }
    assert_eq!(requests.len(), expected.len(), "{:?}", methods(&requests));
    assert_eq!(
        *asked.lock().unwrap(),
        [Command {
            actor: Actor(format!("telegram:@anna (id {ANNA})")),
            act: Act::Acknowledge { alert: "a7".into(), lasts: None, why: None },
        }]
    );
}

/// What one press asks of keepwell, and what is answered to it.
fn pressed(user: i64, chat: i64, data: &str) -> (Vec<Act>, String, bool) {
    let markup = buttons_of(&opened(), |_| ());
    let (acts, asked) = acts(fine);
    let presses = [press(11, user, chat, &markup, data)];
    let requests = listened(script(&presses, [ok(json!(true)), yes(), yes()]), acts, |_| ());
    let (_, answer) = requests.iter().find(|(m, _)| m == "answerCallbackQuery").expect("answered");
    let acts = asked.lock().unwrap().iter().map(|command| command.act.clone()).collect();
    (acts, answer["text"].as_str().unwrap().to_owned(), answer["show_alert"] == true)
}

#[test]
fn each_button_does_what_it_says() {
    let markup = buttons_of(&opened(), |_| ());
    let why = Some("a button in Telegram".to_owned());
    assert_eq!(
        pressed(ANNA, GROUP, &data_of(&markup, "Silence 1 h")).0,
        [Act::Silence {
            matcher: Matcher::check("unit:nginx.service").unwrap(),
            lasts: Duration::from_secs(3600),
            why,
        }]
    );
    assert_eq!(
        pressed(ANNA, GROUP, &data_of(&markup, "Restart")).0,
        [Act::Restart { unit: "nginx.service".into() }]
    );
    // A container goes by the name of its check, so that no unit is meant.
    let died = sample::all().into_iter().find(|(name, _)| *name == "container-died").unwrap().1;
    let buttons = buttons_of(&sample::outgoing(died), |_| ());
    assert_eq!(
        pressed(ANNA, GROUP, &data_of(&buttons, "Restart")).0,
        [Act::Restart { unit: "container:shop-api-1".into() }]
    );
}

#[test]
fn whoever_is_not_allowed_is_told_so_and_nothing_is_done() {
    let data = data_of(&buttons_of(&opened(), |_| ()), "Restart");
    for (user, chat) in [(666, GROUP), (ANNA, -777), (GROUP, GROUP)] {
        let (acts, text, alert) = pressed(user, chat, &data);
        assert!(acts.is_empty() && alert, "{user} in {chat}: {acts:?}");
        assert!(text.starts_with("You are not allowed to do this.") && text.len() <= 200, "{text}");
        assert!(text.contains(&user.to_string()));
    }
}

#[test]
fn in_a_private_chat_its_person_may_press() {
    let own = |s: &mut Settings| {
        s.chats = vec![Chat::Id(PERSON)];
        s.allowed.clear();
    };
    let markup = buttons_of(&opened(), own);
    let data = data_of(&markup, "Acknowledge");
    for (user, expected) in [(PERSON, 1), (ANNA, 0)] {
        let (acts, asked) = acts(fine);
        let presses = [press(11, user, PERSON, &markup, &data)];
        listened(script(&presses, [ok(json!(true)), yes(), yes()]), acts, own);
        assert_eq!(asked.lock().unwrap().len(), expected, "{user}");
    }
}

#[test]
fn a_public_channel_is_known_by_its_name() {
    let named = |s: &mut Settings| s.chats = vec![Chat::parse("@Ops_Room").unwrap()];
    let markup = buttons_of(&opened(), named);
    let mut update = press(11, ANNA, GROUP, &markup, &data_of(&markup, "Acknowledge"));
    update["callback_query"]["message"]["chat"]["username"] = json!("ops_room");
    let (acts, asked) = acts(fine);
    listened(script(&[update], [ok(json!(true)), yes(), yes()]), acts, named);
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[test]
fn what_is_no_button_of_this_host_does_nothing() {
    let own = data_of(&buttons_of(&opened(), |_| ()), "Restart");
    let other_host = buttons_of(&opened(), |s| s.host = "ffff".into());
    let other_bot = buttons_of(&opened(), |s| s.token = Secret::new("1:bbbbbbbbbbbbbbbbbbbbbbb"));
    let forged = own.replace("nginx.service", "sshd.service");
    let acknowledged = own.replacen(":r:", ":a:", 1);
    let foreign = "This button belongs to keepwell on another host";
    let cases = [
        (data_of(&other_host, "Restart"), foreign),
        (data_of(&other_bot, "Acknowledge"), foreign),
        (forged, foreign),
        (acknowledged, foreign),
        (String::new(), "keepwell does not know this button"),
        ("k:ack:a12".into(), "keepwell does not know this button"),
        ("k1:::::".into(), foreign),
        ("\u{0}\u{202e}🔴".into(), "keepwell does not know this button"),
    ];
    for (data, expected) in cases {
        let (acts, text, alert) = pressed(ANNA, GROUP, &data);
        assert!(acts.is_empty() && alert, "{data}: {acts:?}");
        assert!(text.starts_with(expected) && text.encode_utf16().count() <= 200, "{data}: {text}");
        assert!(!text.ends_with('…'), "{text}");
    }
}

#[test]
fn names_that_fit_into_no_button_are_remembered_while_keepwell_runs() {
    let name = format!("backup-of-{}.service", "the-whole-house-".repeat(5));
    let mut alert = sample::alert();
    alert.key.check = crate::engine::words::CheckId::unit(name.clone());
    let message = sample::outgoing(sample::of(Happening::Opened, alert));
    let markup = buttons_of(&message, |_| ());
    let data = data_of(&markup, "Restart");
    let (_, text, _) = pressed(ANNA, GROUP, &data);
    assert!(text.starts_with("This button is too old") && !text.ends_with('…'), "{text}");

    let presses = [press(11, ANNA, GROUP, &markup, &data)];
    let mut replies = vec![yes()];
    replies.extend(script(&presses, [ok(json!(true)), yes(), yes()]));
    let count = replies.len();
    let receiver = Receiver::new(replies);
    let channel = telegram(settings(&receiver));
    let (acts, asked) = acts(fine);
    block(async { channel.send(&message).await }).unwrap();
    until(&receiver, count, channel.clone().listen(acts).unwrap());
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].act, Act::Restart { unit: name.into() });
}

#[test]
fn silencing_one_check_silences_no_other() {
    let mut alert = sample::alert();
    alert.key.check = "disk:/mnt/[a-z]*".parse().unwrap();
    let markup = buttons_of(&sample::outgoing(sample::of(Happening::Opened, alert)), |_| ());
    let (acts, ..) = pressed(ANNA, GROUP, &data_of(&markup, "Silence 1 h"));
    let [Act::Silence { matcher, .. }] = &acts[..] else { panic!("{acts:?}") };
    let labels = std::collections::BTreeMap::new();
    let silent = |check: &str| {
        matcher.matches(&check.parse().unwrap(), crate::engine::words::Severity::Critical, &labels)
    };
    assert!(silent("disk:/mnt/[a-z]*"));
    assert!(!silent("disk:/mnt/b") && !silent("disk:/mnt/bc"));
}

#[test]
fn a_refusal_is_shown_to_who_pressed_and_the_button_stays() {
    let markup = buttons_of(&opened(), |_| ());
    let (acts, asked) = acts(|_| Err(format!("there is no open alert a7\n{}", "x".repeat(500))));
    let presses = [press(11, ANNA, GROUP, &markup, &data_of(&markup, "Acknowledge"))];
    let requests = listened(script(&presses, [ok(json!(true))]), acts, |_| ());
    assert_eq!(asked.lock().unwrap().len(), 1);
    assert_eq!(
        methods(&requests)[3..],
        ["answerCallbackQuery", "getUpdates"],
        "no message to all, and the buttons stay"
    );
    let answer = &requests[3].1;
    assert_eq!(answer["show_alert"], true);
    let text = answer["text"].as_str().unwrap();
    assert!(text.starts_with("there is no open alert a7 xxx") && text.ends_with('…'), "{text}");
    assert_eq!(text.chars().count(), 200);
}

#[test]
fn the_same_button_pressed_again_does_nothing_more() {
    let markup = buttons_of(&opened(), |_| ());
    let data = data_of(&markup, "Restart");
    let (acts, asked) = acts(fine);
    let presses = [press(11, ANNA, GROUP, &markup, &data), press(12, ANNA, GROUP, &markup, &data)];
    let after = [ok(json!(true)), yes(), yes(), ok(json!(true))];
    let requests = listened(script(&presses, after), acts, |_| ());
    assert_eq!(asked.lock().unwrap().len(), 1);
    let answers: Vec<&Value> =
        requests.iter().filter(|(m, _)| m == "answerCallbackQuery").map(|(_, b)| b).collect();
    assert_eq!(answers[1]["text"], "This has been done already.");
}

#[test]
fn an_update_that_comes_again_is_not_done_again() {
    let markup = buttons_of(&opened(), |_| ());
    let update = press(11, ANNA, GROUP, &markup, &data_of(&markup, "Restart"));
    let (acts, asked) = acts(fine);
    let replies = [
        ok(json!([])),
        ok(json!([update])),
        // It is not confirmed yet, and the answer to that is lost; then it comes once more.
        Reply::Reset,
        ok(json!([update])),
        ok(json!(true)),
        yes(),
        yes(),
        ok(json!([update])),
        gone(),
    ];
    let requests = listened(replies, acts, |_| ());
    assert_eq!(asked.lock().unwrap().len(), 1, "{:?}", methods(&requests));
    let offsets: Vec<i64> = requests.iter().filter_map(|(_, b)| b["offset"].as_i64()).collect();
    assert_eq!(offsets, [12, 12, 12, 12], "it moves on, and never back");
}

#[test]
fn what_was_pressed_long_ago_is_not_done() {
    let markup = buttons_of(&opened(), |_| ());
    let update = press(11, ANNA, GROUP, &markup, &data_of(&markup, "Restart"));
    let old = no(
        400,
        "Bad Request: query is too old and response timeout expired or query ID is invalid",
        Value::Null,
    );
    // It waits at Telegram when keepwell starts.
    for (answer, expected) in [(old, 0), (ok(json!(true)), 1)] {
        let (acts, asked) = acts(fine);
        let replies = [ok(json!([update])), ok(json!([])), answer.clone(), yes(), yes(), gone()];
        let requests = listened(replies, acts, |_| ());
        assert_eq!(asked.lock().unwrap().len(), expected);
        assert_eq!(requests[2].1["text"], "keepwell is at it…", "first it is seen how old it is");
        let (_, told) = requests.iter().find(|(m, _)| m == "sendMessage").unwrap();
        let text = told["text"].as_str().unwrap();
        assert_eq!(text.contains("nothing was done"), expected == 0, "{text}");
    }
}

#[test]
fn another_poller_is_waited_for_and_a_broken_server_too() {
    let (acts, asked) = acts(fine);
    let conflict = || no(409, "Conflict: terminated by other getUpdates request", Value::Null);
    let replies = [
        conflict(),
        conflict(),
        Reply::new("200 OK", "<html>"),
        Reply::Reset,
        no(500, "Internal Server Error", Value::Null),
        no(429, "Too Many Requests", json!({ "retry_after": 0 })),
        ok(json!({ "not": "a list" })),
        ok(json!([{ "update_id": "x" }, 7, null, { "update_id": 5, "callback_query": {} }])),
        gone(),
    ];
    let requests = listened(replies, acts, |_| ());
    assert_eq!(requests.len(), 9);
    assert_eq!(requests[8].1["offset"], 6);
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn one_poll_is_kept_open_and_ends_when_it_is_dropped() {
    let receiver = Receiver::new([Reply::Hang]);
    let (acts, _) = acts(fine);
    let mut settings = settings(&receiver);
    settings.waits.poll = Duration::from_secs(50);
    let listening = telegram(settings).listen(acts).unwrap();
    until(&receiver, 1, listening);
    assert_eq!(receiver.requests().len(), 1);
    assert_eq!(receiver.requests()[0].json()["timeout"], 50);
}

#[test]
fn channels_that_share_a_bot_listen_as_one() {
    const OTHER: i64 = -1000000000042;
    let other = |s: &mut Settings| {
        s.chats = vec![Chat::Id(OTHER)];
        s.allowed = vec![8];
    };
    let markup = buttons_of(&opened(), other);
    let data = data_of(&markup, "Acknowledge");
    // Whom the one channel allows, the other does not.
    let updates = [press(11, 8, OTHER, &markup, &data), press(12, ANNA, OTHER, &markup, &data)];
    let receiver =
        Receiver::new(script(&updates, [ok(json!(true)), yes(), yes(), ok(json!(true))]));
    let mut second = settings(&receiver);
    other(&mut second);
    let (acts, asked) = acts(fine);
    let first = telegram(settings(&receiver)).listen(acts.clone()).unwrap();
    let second = telegram(second).listen(acts).unwrap();
    until(&receiver, 8, async {
        tokio::join!(first, second);
    });
    let actors: Vec<String> = asked.lock().unwrap().iter().map(|c| c.actor.0.clone()).collect();
    assert_eq!(actors, ["telegram:@anna (id 8)"]);
    let requests = receiver.requests();
    let polls = requests.iter().filter(|r| method(r) == "getUpdates").count();
    assert_eq!(polls, 4, "one listens for both");
}

#[test]
fn with_a_wrong_token_it_rests_and_is_not_asked_again() {
    for reply in [gone(), no(404, "Not Found", Value::Null)] {
        let receiver = Receiver::new([reply]);
        let (acts, _) = acts(fine);
        let listening = telegram(settings(&receiver)).listen(acts).unwrap();
        // Ended, it would be started again for ever.
        let ended = block(async {
            let mut listening = std::pin::pin!(listening);
            let asked = async {
                while receiver.requests().is_empty() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                () = asked => {}
                _ = &mut listening => return true,
            }
            tokio::time::timeout(Duration::from_millis(300), listening).await.is_ok()
        });
        assert!(!ended);
        assert_eq!(receiver.requests().len(), 1);
    }
}
