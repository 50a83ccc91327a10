//! What the configuration may say.

use super::*;
/// How many channels there are, or what is wrong.
fn read(keys: &str) -> Result<usize, String> {
    let text = format!("[[channel]]\nname = \"ops\"\ntype = \"telegram\"\n{keys}\n");
    load::load(&text).map(|channels| channels.len())
}

fn token(rest: &str) -> String {
    format!("token = \"{TOKEN}\"\n{rest}")
}

#[test]
fn what_is_right_is_taken() {
    for keys in [
        "chat_id = -100123",
        "chat_id = \"-100123\"",
        "chat_id = \"-100123, 42 ,@ops_room\"",
        "chat_id = [-100123, \"42\", \"@ops_room\"]",
        "chat_id = 42\nbuttons = false\ntimeout = \"5s\"\napi = \"http://127.0.0.1:8081/base/\"",
        "chat_id = -5\nallowed_users = [1, 2]",
        "chat_id = -5\nallowed_users = \"1,2\"",
    ] {
        assert_eq!(read(&token(keys)), Ok(1), "{keys}");
    }
}

#[test]
fn what_is_wrong_is_said_with_a_remedy_and_without_the_token() {
    let cases: &[(&str, &[&str])] = &[
        (&token(""), &["needs the key `chat_id`"]),
        ("chat_id = 5", &["needs the key `token`"]),
        ("token = \"nobody\"\nchat_id = 5", &["is not the token of a Telegram bot", "123456789:"]),
        (
            &format!("token = \"bot{TOKEN}\"\nchat_id = 5"),
            &["is not the token of a Telegram bot", "leave out `bot`"],
        ),
        (&token("chat_id = \"ops\""), &["\"ops\" is not a chat", "-1001234567890"]),
        (&token("chat_id = 0"), &["\"0\" is not a chat"]),
        (&token("chat_id = []"), &["names no chat"]),
        (&token("chat_id = true"), &["must be a number, a string, or a list of those"]),
        (&token("chat_id = [5, \"5\"]"), &["names 5 twice"]),
        (&token("chat_id = 5\nallowed_users = \"@anna\""), &["\"@anna\" is not a user's id"]),
        (&token("chat_id = 5\nallowed_users = [-5]"), &["\"-5\" is not a user's id"]),
        (&token("chat_id = 5\napi = \"localhost\""), &["must start with https://"]),
        (&token("chat_id = 5\ntimeout = \"5m\""), &["between 1 s and 30 s"]),
        (&token("chat_id = 5\nchatid = 6"), &["unknown key `chatid`", "chat_id"]),
    ];
    for (keys, expected) in cases {
        let text = read(keys).expect_err(keys);
        for part in *expected {
            assert!(text.contains(part), "{keys}: {text}");
        }
        assert!(!text.contains(KEY), "{text}");
    }
}

#[test]
fn the_token_shows_itself_to_nobody() {
    let receiver = Receiver::new([yes()]);
    let text = format!("{:?}", settings(&receiver));
    assert!(text.contains("[secret]") && !text.contains(KEY), "{text}");
}

#[test]
fn the_kind_knows_its_keys() {
    let kind = KINDS.iter().find(|kind| kind.name == "telegram").unwrap();
    let names: Vec<&str> = kind.keys.iter().map(|key| key.name).collect();
    for name in [
        "token",
        "chat_id",
        "allowed_users",
        "buttons",
        "api",
        "timeout",
        "template",
        "ca",
        "proxy",
    ] {
        assert!(names.contains(&name), "{name}");
    }
}
