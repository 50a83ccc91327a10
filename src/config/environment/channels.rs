//! The variables that make channels: each lies over the file's channel of the same name, or stands
//! alone where there is none. Those that make hooks do the same.

use std::collections::BTreeMap;

use super::super::keys;
use super::super::sink::{Place, Sink};
use super::super::tree::{self, Entry, Node, Table, Value};

const LIST: &str = "channel";
const WEBHOOK: &str = "ALERT_WEBHOOK_URL";
const ALERT_EMAIL: &str = "ALERT_EMAIL";
const ADMIN_EMAIL: &str = "ADMIN_EMAIL";
const SMTP_HOST: &str = "SMTP_HOST";
const SMTP_PORT: &str = "SMTP_PORT";
const SMTP_USER: &str = "SMTP_USER";
const SMTP_PASSWORD: &str = "SMTP_PASSWORD";
const TOKEN: &str = "TELEGRAM_BOT_TOKEN";
const CHAT: &str = "TELEGRAM_CHAT_ID";

/// Every variable that says something of a channel.
pub(super) const NAMES: [&str; 9] = [
    WEBHOOK,
    ALERT_EMAIL,
    ADMIN_EMAIL,
    SMTP_HOST,
    SMTP_PORT,
    SMTP_USER,
    SMTP_PASSWORD,
    TOKEN,
    CHAT,
];

/// Hosts of webhooks with a type of their own; a name stands for its subdomains as well.
const HOSTS: [(&str, &str); 11] = [
    ("hooks.slack.com", "slack"),
    ("hooks.slack-gov.com", "slack"),
    ("discord.com", "discord"),
    ("discordapp.com", "discord"),
    // Teams has moved its workflows twice; older addresses still lead there.
    ("api.powerplatform.com", "teams"),
    ("logic.azure.com", "teams"),
    ("logic.azure.us", "teams"),
    ("powerautomate.com", "teams"),
    ("flow.microsoft.com", "teams"),
    ("webhook.office.com", "teams"),
    ("outlook.office.com", "teams"),
];

/// The types that a file may give to the channel `webhook` without making it another one.
const WEBHOOKS: [&str; 4] = ["webhook", "slack", "discord", "teams"];

/// Lays the channels of the variables over the document.
pub(super) fn merge_into(document: &mut Table, sink: &mut Sink) {
    webhook(document, sink);
    email(document, sink);
    telegram(document, sink);
}

/// The type of channel that an address asks for.
fn kind_of(url: &str) -> &'static str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let within = |name: &str| {
        host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    HOSTS.iter().find(|(name, _)| within(name)).map_or("webhook", |(_, kind)| kind)
}

fn webhook(document: &mut Table, sink: &mut Sink) {
    let Some(url) = Text::of(WEBHOOK, sink) else { return };
    let kind = kind_of(&url.text);
    let keys = table([("url", url.entry())]);
    Made {
        list: LIST,
        name: "webhook",
        kind,
        same: &WEBHOOKS,
        at: url.at,
        keys,
        otherwise: Table::new(),
    }
    .merge(document);
}

fn email(document: &mut Table, sink: &mut Sink) {
    let mut to: Vec<Node> = Vec::new();
    for list in [ALERT_EMAIL, ADMIN_EMAIL].map(|name| Text::of(name, sink)).into_iter().flatten() {
        for one in list.text.split([',', ';']).map(str::trim).filter(|one| !one.is_empty()) {
            let there = |node: &Node| matches!(&node.value, Value::Text(other) if other.eq_ignore_ascii_case(one));
            if !to.iter().any(there) {
                to.push(Node { value: Value::Text(one.to_owned()), at: list.at });
            }
        }
    }
    let [host, port, user, password] =
        [SMTP_HOST, SMTP_PORT, SMTP_USER, SMTP_PASSWORD].map(|name| Text::of(name, sink));
    let server = [&host, &port, &user, &password].into_iter().flatten().next().map(|text| text.at);
    let Some(at) = to.first().map(|node| node.at).or(server) else { return };

    let mut keys = Table::new();
    if !to.is_empty() {
        keys.extend(table([("to", Entry::new(at, Node { value: Value::List(to), at }))]));
    }
    if let Some(port) = &port {
        let number = port.text.parse().map(Value::Integer);
        let value = number.unwrap_or_else(|_| Value::Text(port.text.clone()));
        let node = Node { value, at: port.at };
        keys.extend(table([("port", Entry::new(port.at, node))]));
    }
    for (key, text) in [("host", &host), ("user", &user), ("password", &password)] {
        keys.extend(text.iter().map(|text| (key.to_owned(), text.entry())));
    }
    let there = find(document, LIST, "email", &["email"]);
    let has = |key: &str| there.as_ref().is_some_and(|section| section.contains_key(key));
    if !keys.contains_key("to") && !has("to") {
        sink.warning(at, "this names a mail server, and nobody to write to")
            .hint("set ALERT_EMAIL as well");
        return;
    }

    let mut otherwise = Table::new();
    if host.is_none() && !["host", "preset"].into_iter().any(has) {
        let at = port.as_ref().map_or(at, |port| port.at);
        let node = Node { value: Value::Text("localhost".into()), at };
        otherwise.extend(table([("host", Entry::new(at, node))]));
        sink.warning(at, "SMTP_HOST is not set: mail goes to the mail server of this host")
            .hint("set SMTP_HOST, to localhost if that is meant");
    }
    Made { list: LIST, name: "email", kind: "email", same: &["email"], at, keys, otherwise }
        .merge(document);
}

fn telegram(document: &mut Table, sink: &mut Sink) {
    let (token, chat) = (Text::of(TOKEN, sink), Text::of(CHAT, sink));
    let there = find(document, LIST, "telegram", &["telegram"]);
    let has = |key: &str| there.as_ref().is_some_and(|section| section.contains_key(key));
    let (has_token, has_chat) = (has("token"), has("chat_id"));
    for (one, other, elsewhere) in [(&token, &chat, has_chat), (&chat, &token, has_token)] {
        if let (Some(one), None, false) = (one, other, elsewhere) {
            let missing = if one.name == TOKEN { CHAT } else { TOKEN };
            sink.warning(one.at, "this alone makes no Telegram channel")
                .hint(format!("set {missing} as well"));
            return;
        }
    }
    let Some(at) = token.as_ref().or(chat.as_ref()).map(|text| text.at) else { return };
    let mut keys = Table::new();
    for (key, text) in [("token", &token), ("chat_id", &chat)] {
        keys.extend(text.iter().map(|text| (key.to_owned(), text.entry())));
    }
    let kind = "telegram";
    Made { list: LIST, name: kind, kind, same: &[kind], at, keys, otherwise: Table::new() }
        .merge(document);
}

/// A variable that is set, without spaces around it.
pub(super) struct Text {
    name: &'static str,
    text: String,
    pub(super) at: Place,
}

impl Text {
    fn of(name: &'static str, sink: &mut Sink) -> Option<Self> {
        let text = sink.environment().get(name)?.trim().to_owned();
        (!text.is_empty()).then(|| Self { name, text, at: sink.add_variable(name) })
    }

    /// One that is set for other programs as well.
    pub(super) fn shared(name: &'static str, sink: &mut Sink) -> Option<Self> {
        let text = sink.environment().get(name)?.trim().to_owned();
        (!text.is_empty()).then(|| Self { name, text, at: sink.add_shared_variable(name) })
    }

    pub(super) fn entry(&self) -> Entry {
        Entry::new(self.at, Node { value: Value::Text(self.text.clone()), at: self.at })
    }
}

pub(super) fn table<const N: usize>(entries: [(&str, Entry); N]) -> Table {
    entries.into_iter().map(|(key, entry)| (key.to_owned(), entry)).collect::<BTreeMap<_, _>>()
}

/// A section made of variables.
pub(super) struct Made<'a> {
    /// `channel` or `hook`.
    pub(super) list: &'static str,
    pub(super) name: &'a str,
    pub(super) kind: &'a str,
    /// A file's section of this name is meant if its type is one of these or not said.
    pub(super) same: &'a [&'a str],
    pub(super) at: Place,
    /// What variables say.
    pub(super) keys: Table,
    /// What goes without saying, unless a file says otherwise.
    pub(super) otherwise: Table,
}

impl Made<'_> {
    pub(super) fn merge(self, document: &mut Table) {
        let text = |text: &str| {
            Entry::new(self.at, Node { value: Value::Text(text.to_owned()), at: self.at })
        };
        let section = find(document, self.list, self.name, self.same);
        let Some(section) = section else {
            let mut channel = table([("name", text(self.name)), ("type", text(self.kind))]);
            channel.extend(self.otherwise);
            channel.extend(self.keys);
            let list = Value::List(vec![Node { value: Value::Table(channel), at: self.at }]);
            let entry = Entry::new(self.at, Node { value: list, at: self.at });
            tree::merge(document, Table::from([(self.list.to_owned(), entry)]), keys::ROOT);
            return;
        };
        section.entry("type".to_owned()).or_insert_with(|| text(self.kind));
        tree::merge(section, self.keys, &[]);
        for (key, entry) in self.otherwise {
            section.entry(key).or_insert(entry);
        }
    }
}

/// The file's section of this name, unless it is of a type that cannot be meant.
fn find<'a>(
    document: &'a mut Table,
    list: &str,
    name: &str,
    same: &[&str],
) -> Option<&'a mut Table> {
    let entry = document.get_mut(list)?;
    let Value::List(list) = &mut entry.node.value else { return None };
    list.iter_mut().find_map(|node| {
        let Value::Table(section) = &mut node.value else { return None };
        let text = |key: &str| section.get(key).map(|entry| &entry.node.value);
        let named = matches!(text("name"), Some(Value::Text(text)) if text == name);
        let fits = match text("type") {
            None => true,
            Some(Value::Text(kind)) => same.contains(&kind.as_str()),
            Some(_) => false,
        };
        (named && fits).then_some(section)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_told_by_the_host_of_its_address() {
        for (url, kind) in [
            ("https://hooks.slack.com/services/T0/B0/x", "slack"),
            ("HTTPS://Hooks.Slack.com:443/services/x", "slack"),
            ("https://discord.com/api/webhooks/1/x", "discord"),
            ("https://canary.discord.com/api/webhooks/1/x", "discord"),
            ("https://ptb.discordapp.com/api/webhooks/1/x", "discord"),
            ("https://prod-01.westeurope.logic.azure.com:443/workflows/1/triggers/x", "teams"),
            ("https://default0a.1f.environment.api.powerplatform.com:443/powerautomate/x", "teams"),
            ("https://emea.powerautomate.com/x", "teams"),
            ("https://example.webhook.office.com/webhookb2/x", "teams"),
            ("https://example.org/hook?to=hooks.slack.com", "webhook"),
            ("https://notdiscord.com/x", "webhook"),
            ("https://discord.com.example.org/x", "webhook"),
            ("https://discord.com@example.org/x", "webhook"),
            ("hooks.slack.com/services/x", "webhook"),
            ("", "webhook"),
        ] {
            assert_eq!(kind_of(url), kind, "{url}");
        }
    }
}
