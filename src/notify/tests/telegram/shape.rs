//! How messages look: golden requests, and what holds for all of them.

use super::*;
use crate::notify::telegram::Words;

/// Every sample and those that try to break out.
fn samples() -> Vec<(&'static str, Notification)> {
    let mut all = sample::all();
    all.push(("hostile", sample::hostile()));
    all.push(("storm", sample::storm(1000)));
    all
}

fn request(message: &Outgoing, change: impl FnOnce(&mut Settings)) -> Request {
    let receiver = Receiver::new([yes()]);
    let mut settings = settings(&receiver);
    change(&mut settings);
    block(telegram(settings).send(message)).unwrap();
    let [request] = &receiver.requests()[..] else { panic!("one request") };
    request.clone()
}

#[test]
fn every_request_is_as_documented() {
    let mut golden = insta::Settings::clone_current();
    golden.set_snapshot_path("golden");
    golden.set_prepend_module_to_snapshot(false);
    golden.set_omit_expression(true);
    golden.bind(|| {
        for (name, message) in samples() {
            let request = request(&sample::outgoing(message), |_| ());
            insta::assert_snapshot!(name, request.golden());
        }
    });
}

/// The text that is left of HTML when Telegram has read it, and what of that stands outside of
/// code. Panics at what Telegram would not take.
fn parsed(html: &str) -> (String, String) {
    let (mut all, mut running) = (String::new(), String::new());
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some(c) = rest.chars().next() {
        let mut put = |c: char, open: &[&str]| {
            all.push(c);
            running.push(if open.contains(&"pre") || open.contains(&"code") { ' ' } else { c });
        };
        match c {
            '<' => {
                let (tag, after) = rest[1..].split_once('>').expect("a tag ends");
                match tag.strip_prefix('/') {
                    Some(tag) => assert_eq!(open.pop(), Some(tag), "tags are nested"),
                    None => {
                        assert!(["b", "i", "pre", "code"].contains(&tag), "<{tag}>");
                        open.push(tag);
                    }
                }
                rest = after;
            }
            '&' => {
                let (name, after) = rest[1..].split_once(';').expect("an entity ends");
                let known = [("lt", '<'), ("gt", '>'), ("amp", '&'), ("quot", '"'), ("#39", '\'')];
                let (_, c) = known.iter().find(|(known, _)| *known == name).expect(name);
                put(*c, &open);
                rest = after;
            }
            c => {
                assert!(!['>', '"'].contains(&c), "{c} is escaped");
                put(c, &open);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    assert!(open.is_empty(), "tags end");
    (all, running)
}

fn is_inert(text: &str) {
    let chars: Vec<char> = text.chars().collect();
    let word = |c: &char| c.is_alphanumeric() || *c == '_';
    for (i, pair) in chars.windows(2).enumerate() {
        let before = i.checked_sub(1).map(|i| &chars[i]);
        let [c, next] = pair else { panic!() };
        assert!(*c != '@' || before.is_some_and(word) || !word(next), "{text:?} mentions");
        let end = chars[i + 1..].iter().find(|c| !word(c));
        let command = *c == '/' && word(next) && before.is_none_or(|b| !word(b) && *b != '/');
        assert!(!command || end == Some(&'/'), "{text:?} has a command");
    }
}

#[test]
fn every_message_is_taken_by_telegram_and_mentions_nobody() {
    let mut all = samples();
    let mut shouting = sample::alert();
    shouting.lines = vec![format!("\"<&>\" 🔴 /start @anna {}", "&".repeat(280)); 10];
    shouting.summary = "@anna /stop@bot @bob_1, /var is full, see a@b.example".repeat(40);
    all.push(("shouting", sample::of(Happening::Opened, shouting)));
    for n in [4, 5, 6, 30, 70] {
        all.push(("storm", sample::storm(n)));
    }
    for (name, message) in all {
        let body = request(&sample::outgoing(message), |_| ()).json();
        assert_eq!(body["parse_mode"], "HTML", "{name}");
        let html = body["text"].as_str().unwrap();
        let (all, running) = parsed(html);
        let length = all.encode_utf16().count();
        assert!((1..=4096).contains(&length), "{name} has {length}");
        assert!(!all.contains(|c: char| c.is_control() && c != '\n'), "{name}");
        assert!(!all.contains(['\u{202e}', '\u{2066}']), "{name}");
        is_inert(&running);
        for row in body["reply_markup"]["inline_keyboard"].as_array().into_iter().flatten() {
            for button in row.as_array().unwrap() {
                let data = button["callback_data"].as_str().unwrap();
                assert!((1..=64).contains(&data.len()), "{name}: {data}");
            }
        }
    }
}

#[test]
fn people_are_woken_only_by_what_they_should_look_at() {
    let silent: Vec<&str> = sample::all()
        .into_iter()
        .filter(|(_, message)| {
            let body = request(&sample::outgoing(message.clone()), |_| ()).json();
            body["disable_notification"] == true
        })
        .map(|(name, _)| name)
        .collect();
    let expected = [
        "restarted",
        "acknowledged",
        "resolved",
        "report",
        "report-well",
        "notices",
        "container-restored",
    ];
    assert!(silent.iter().all(|name| expected.contains(name)), "{silent:?}");
    assert!(["resolved", "report", "notices"].iter().all(|name| silent.contains(name)));
}

#[test]
fn buttons_are_shown_only_where_somebody_may_press_them() {
    type Change = fn(&mut Settings);
    let cases: &[(&str, Change, bool)] = &[
        ("a group with allowed users", |_| (), true),
        ("a group without", |s| s.allowed.clear(), false),
        ("switched off", |s| s.buttons = false, false),
        (
            "one person",
            |s| {
                s.allowed.clear();
                s.chats = vec![Chat::Id(PERSON)];
            },
            true,
        ),
        ("one person who is not among those allowed", |s| s.chats = vec![Chat::Id(PERSON)], false),
    ];
    for (name, change, expected) in cases {
        let body = request(&opened(), change).json();
        assert_eq!(body.get("reply_markup").is_some(), *expected, "{name}");
        let receiver = Receiver::new([yes()]);
        let mut settings = settings(&receiver);
        change(&mut settings);
        let acts: Acts = Arc::new(|_| Box::pin(async { Ok(String::new()) }));
        assert_eq!(telegram(settings).listen(acts).is_some(), *expected, "{name}");
    }
}

#[test]
fn labels_of_buttons_follow_the_alert() {
    let labels = |change: fn(&mut crate::engine::alert::AlertRecord)| -> Vec<String> {
        let mut alert = sample::alert();
        change(&mut alert);
        let body = request(&sample::outgoing(sample::of(Happening::Opened, alert)), |_| ()).json();
        let rows = body["reply_markup"]["inline_keyboard"].as_array().unwrap().clone();
        assert_eq!(rows.len(), 1);
        let texts = rows[0].as_array().unwrap().iter();
        texts.map(|button| button["text"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(labels(|_| ()), ["Acknowledge", "Silence 1 h", "Restart"]);
    assert_eq!(
        labels(|a| {
            let actor = crate::engine::event::Actor("root (uid 0)".into());
            a.ack = Some(crate::engine::alert::Ack { actor, at: T0, why: None, until: None });
        }),
        ["Silence 1 h", "Restart"]
    );
    assert_eq!(
        labels(|a| a.key.kind = crate::engine::words::AlertKind::Errors),
        ["Acknowledge", "Silence 1 h"]
    );
    assert_eq!(
        labels(|a| a.key.check = "disk:/var".parse().unwrap()),
        ["Acknowledge", "Silence 1 h"]
    );
}

#[test]
fn words_of_the_user_are_read_as_telegram_reads_them() {
    let read = |text: &str, most| Words::read(text, most).map(|w| (w.html, w.plain));
    let both = |html: &str, plain: &str| Ok((html.to_owned(), plain.to_owned()));
    assert_eq!(
        read(" <b>a &lt;&#65;&amp;</b> & b\n", 99),
        both("<b>a &lt;&#65;&amp;</b> & b", "a <A& & b")
    );
    assert_eq!(
        read("<a href=\"tg://user?id=7\">Anna</a>, not @anna; <code>@x /y</code>", 99),
        both(
            "<a href=\"tg://user?id=7\">Anna</a>, not @\u{2060}anna; <code>@x /y</code>",
            "Anna, not @\u{2060}anna; @x /y"
        )
    );
    assert_eq!(
        read("<b><i>&lt;12345</i> and more</b> of it", 5),
        both("<b><i>&lt;123…</i></b>", "<123…"),
        "a cut leaves nothing open"
    );
    assert_eq!(read("🔴🔴🔴", 5), both("🔴🔴…", "🔴🔴…"));
    for (text, why) in [
        ("a < b", "\"< b\" begins a tag that does not end"),
        (
            "<script>x</script>",
            "\"<script>\" is no tag of Telegram's; for the sign itself write &lt;",
        ),
        ("<b>x", "<b> is not ended by </b>"),
        ("<b>x</i>", "</i> stands where <b> should end"),
        ("x</b>", "</b> ends nothing"),
        (&format!("<i>{}</i><b>", "x".repeat(99)), "<b> is not ended by </b>"),
        (" <b> </b>", "it makes an empty message"),
        ("", "it makes an empty message"),
    ] {
        assert_eq!(read(text, 20), Err(why.to_owned()), "{text}");
    }
}

#[test]
fn words_of_the_user_take_the_place_of_the_message_and_buttons_stay() {
    let receiver = Receiver::new([yes()]);
    let send = |template: &str, message: Notification| {
        let channel = load::one(&format!(
            "[[channel]]\nname = \"ops\"\ntype = \"telegram\"\ntoken = \"{TOKEN}\"\nchat_id = {PERSON}\n\
             api = \"{}\"\ntemplate = {{ text = \"{template}\" }}\n",
            receiver.url("")
        ));
        block(channel.send(&sample::outgoing(message))).unwrap();
        receiver.requests().last().unwrap().json()
    };
    let good = send("<b>{{ host | html }}</b>: {{ title | html }}", sample::hostile());
    let text = good["text"].as_str().unwrap();
    assert!(text.starts_with("<b>web&lt;1&gt;&amp;</b>: "), "{text}");
    let (all, running) = parsed(text);
    assert!(all.encode_utf16().count() <= 4096);
    is_inert(&running);
    assert!(good.get("reply_markup").is_some() && good["parse_mode"] == "HTML");

    let spoilt = send("{{ host }}", sample::hostile());
    let text = spoilt["text"].as_str().unwrap();
    assert!(
        text.starts_with("🔴 <b>[CRITICAL] web&lt;1&gt;&amp;: "),
        "in keepwell's words: {text}"
    );

    let wrong = load::wrong(&format!(
        "[[channel]]\nname = \"ops\"\ntype = \"telegram\"\ntoken = \"{TOKEN}\"\nchat_id = 5\n\
         template = {{ text = \"<h1>{{{{ title | html }}}}</h1>\" }}\n"
    ));
    assert!(wrong.contains("`template.text`") && wrong.contains("<h1>"), "{wrong}");
}
