//! What templates can use, what stops them, and what is said of those that are wrong.

use std::time::Duration;

use super::*;
use crate::engine::alert::{Happening, Notification};
use crate::notify::tests::load::wrong;

fn set(source: &str) -> Result<Set, Fault> {
    let mut set = Set::new();
    set.add("t", source.to_owned(), &|_| Ok(()), true, &samples).map(|()| set)
}

/// What the template makes of a message.
fn made(source: &str, notification: Notification) -> String {
    let mut message = sample::outgoing(notification);
    message.delayed = Some(Duration::from_secs(1500));
    let story = story::compose(&message);
    let set = set(source).unwrap_or_else(|fault| panic!("{}", fault.text));
    let templates = Templates(Some(Arc::new(set)));
    templates.render("t", &message, &story).unwrap()
}

fn grouped(source: &str) -> String {
    made(source, sample::grouped())
}

#[test]
fn a_template_sees_the_whole_message() {
    assert_eq!(
        grouped("{{ host }} {{ severity }} {{ gist }} [{{ happening }}] {{ status }} {{ at }}"),
        "web1 critical alerts [] firing 2026-11-21T06:41:23.500000Z"
    );
    assert_eq!(
        grouped("{{ message.host }} {{ message.delayed }} {{ delayed }}"),
        "web1 25 min 25 min"
    );
    assert_eq!(grouped("{{ tone }} {{ colour }} {{ sign }}"), "critical #d32f2f 🔴");
    assert_eq!(grouped("{{ footer }} {{ labels.env }}"), "web1 · env=prod prod");
    let all = "\
{% for alert in alerts %}
{{ alert.id }} {{ alert.name }} {{ alert.severity }} {{ alert.reason }} {{ alert.happening }}{% if alert.cause %} by {{ alert.cause }}{% endif %}

{% endfor %}";
    assert_eq!(
        grouped(all),
        "a7 postgresql.service critical exit-code opened\n\
         a8 api.service critical exit-code opened by a7\n\
         a9 worker@1.service critical exit-code opened by a7\n\
         a10 disk /var warning over-threshold opened\n"
    );
    let parts = "{% for p in parts %}{{ p.heading }}{% for f in p.facts %} {{ f.label }}{% endfor %};{% endfor %}";
    assert!(
        grouped(parts)
            .starts_with("CRITICAL postgresql.service: failed: exited with status 3 Since Why")
    );
    let text = made("{{ text }}", sample::of(Happening::Opened, sample::alert()));
    assert!(text.contains("\nLook: journalctl -u nginx.service"), "{text}");
    let mut over = sample::alert();
    over.resolved = Some(sample::AT.after(Duration::from_secs(312)));
    let over = sample::of(Happening::Resolved, over);
    assert_eq!(
        made(
            "{% for a in alerts %}{{ a.downtime }} {{ a.downtime_seconds }} {{ a.unit }}{% endfor %} {{ happening }}",
            over
        ),
        "5 min 12 s 312.0 nginx.service resolved"
    );
}

#[test]
fn what_is_not_known_is_nothing_and_a_label_that_is_not_set_too() {
    assert_eq!(grouped("[{{ happening }}{{ labels.team }}{{ report }}]"), "[]");
    assert_eq!(
        grouped("{{ labels | json }}{% for k in labels %}{{ k }}{% endfor %}"),
        "{\"env\":\"prod\"}env"
    );
    assert_eq!(grouped("{{ 'default' if labels.team == '' else labels.team }}"), "default");
}

#[test]
fn each_filter_escapes_for_its_place() {
    let summary = |filter: &str| {
        made(
            &format!("{{% for a in alerts %}}{{{{ a.summary{filter} }}}}{{% endfor %}}"),
            sample::hostile(),
        )
    };
    assert!(summary("").starts_with("<script>alert(1)</script> &amp; </pre>"));
    let html = summary(" | html");
    assert!(html.starts_with("&lt;script&gt;alert(1)&lt;/script&gt; &amp;amp; &lt;/pre&gt;"));
    assert!(!html.contains(['<', '>', '"', '\'']), "{html}");
    let slack = summary(" | slack");
    assert!(
        slack.contains("&lt;!channel&gt; &lt;@U123&gt;") && !slack.contains(['<', '>']),
        "{slack}"
    );
    let markdown = summary(" | markdown");
    assert!(
        markdown.contains(r"\*bold\* \_it\_") && markdown.contains(r"\@everyone"),
        "{markdown}"
    );
    let json = summary(" | json");
    let back: String = serde_json::from_str(&json).unwrap();
    assert_eq!(back, summary(""));
    assert_eq!(grouped("{{ report | json }} {{ report | html }}."), "null .");
    // Control characters are gone before any filter.
    assert!(!summary("").contains(|c: char| c.is_control()));
}

#[test]
fn text_from_outside_is_never_a_template() {
    let source = "{% for a in alerts %}{{ a.lines[:5] | join(' ') }}{% endfor %}";
    let made = made(source, sample::hostile());
    assert!(made.contains("{{ 7 * 7 }} {% raw %}"), "{made}");
}

#[track_caller]
fn fault(source: &str, text: &str, hint: &str) {
    let Err(fault) = set(source) else { panic!("nothing is wrong with it") };
    assert_eq!(fault.text, text);
    assert!(fault.hint.contains(hint), "{}", fault.hint);
}

#[test]
fn a_wrong_template_is_found_out_at_load() {
    fault(
        "{{ hots }}",
        "there is no variable `hots`",
        "did you mean `host`? there are: alerts, at, ",
    );
    // Also where no sample goes.
    fault(
        "{% if host == 'x' %}{{ zzz }}{% endif %}",
        "there is no variable `zzz`",
        "there are: alerts",
    );
    fault(
        "a\n{% for a in alerts %}\n{{ a.sumary }}{% endfor %}",
        "line 3: there is no such value at `{{ a.sumary }}{% endfor %}` (tried with the sample `opened`)",
        "; each of alerts: ack, acts, beneath, cause, check, ",
    );
    fault(
        "{{ alerts[0].id }}",
        "line 1: there is no such value at `{{ alerts[0].id }}` (tried with the sample `report`)",
        "this message has no alerts: write {% for alert in alerts %}",
    );
    fault(
        "{{ title | shout }}",
        "line 1: filter shout is unknown at `{{ title | shout }}` (tried with the sample `opened`)",
        "html, slack, markdown, json",
    );
    for filter in ["html", "slack", "markdown", "json", "upper"] {
        fault(
            &format!("{{{{ message.x | {filter} }}}}"),
            &format!(
                "line 1: there is no such value at `{{{{ message.x | {filter} }}}}` (tried with the sample `opened`)"
            ),
            "there are: ",
        );
    }
    fault(
        "{% if title %}",
        "line 1: unexpected end of input, expected end of block",
        "{% endif %}",
    );
    fault("{{ 'x' * 70000 }}", "it makes more than 64 KiB (tried with the sample `opened`)", "");
    fault(
        "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
        "line 1: it takes too many steps at `{% for i in range(9999) %}{% for j in range(9999) %}\
         {% endfor %}{% endfor %}` (tried with the sample `opened`)",
        "",
    );
}

#[test]
fn a_template_may_be_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("body.txt");
    let at = |value: &str| {
        format!(
            "[[channel]]\nname = \"a\"\ntype = \"webhook\"\nurl = \"http://h.example/\"\n\
             template = {{ body = {value}, content_type = \"text/plain\" }}\n"
        )
    };
    let file = at(&format!("{{ file = \"{}\" }}", path.display()));
    let found = wrong(&file);
    assert!(found.contains("body.txt cannot be read: No such file"), "{found}");
    std::fs::write(&path, "{{ title }}\n{{ hots }}\n").unwrap();
    assert!(wrong(&file).contains("there is no variable `hots`"));
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(wrong(&file).contains("body.txt is not UTF-8 text"));
    std::fs::write(&path, vec![b' '; 70_000]).unwrap();
    assert!(wrong(&file).contains("it is larger than 64 KiB"));
    std::fs::write(&path, "{{ title }}\n").unwrap();
    assert!(crate::notify::tests::load::load(&file).is_ok());
    let found = wrong(&at("{ file = \"body.txt\" }"));
    assert!(
        found.contains("must be a string or a file") && found.contains("an absolute path"),
        "{found}"
    );
    assert!(wrong(&at("7")).contains("must be a string, not an integer"));
    assert!(wrong(&at("{}")).contains("must be a string or { file = \"/…\" }"));
    let found = wrong(&at(&format!("{{ file = \"{}\" }}", folder.path().display())));
    assert!(found.contains("it is not a regular file"), "{found}");
}

#[test]
fn a_template_that_fails_later_says_so_once_and_gives_way() {
    let source = "{% for a in alerts %}{{ a.summary }}{{ a.summary }}{{ a.summary }}{% endfor %}";
    let templates = Templates(Some(Arc::new(set(source).unwrap_or_else(|f| panic!("{}", f.text)))));
    let message = sample::outgoing(sample::storm(1000));
    let story = story::compose(&message);
    assert_eq!(templates.render("t", &message, &story), None);
    assert_eq!(templates.render("t", &message, &story), None);
    assert_eq!(templates.render("other", &message, &story), None);
    let failed = templates.0.as_ref().unwrap().failed.lock().unwrap().clone();
    assert_eq!(failed.into_iter().collect::<Vec<_>>(), ["t"]);
    assert_eq!(format!("{templates:?}"), "{\"t\"}");
    assert!(Templates::default().render("t", &message, &story).is_none());
}
