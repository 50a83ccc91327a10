//! Filters with which a template escapes for the place that its text goes to. Nothing is escaped
//! unless the template says so: only its author knows the place.

use minijinja::{Environment, Error, ErrorKind, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::notify::chat::markdown;

/// Those that are there besides Jinja's own.
pub(in crate::notify) const NAMES: &[&str] = &["html", "slack", "markdown", "json"];

const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("html", |value: Value| text(&value).map(|t| html(&t)));
    environment.add_filter("slack", |value: Value| text(&value).map(|t| slack(&t)));
    // For Discord, Teams and others that read Markdown.
    environment.add_filter("markdown", |value: Value| text(&value).map(|t| markdown(&t)));
    environment.add_filter("json", json);
    environment.add_filter("tojson", json);
}

/// As it would be written by itself: what is not known is nothing; what does not exist is an error.
fn text(value: &Value) -> Result<String, Error> {
    there(value)?;
    Ok(if value.is_none() { String::new() } else { value.to_string() })
}

fn there(value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    Ok(())
}

/// For HTML, in text and in quoted attributes.
fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// For Slack, where these three begin mentions and links.
fn slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// As a part of a URL: nothing but letters, digits and `-._~` stays as it is.
pub(super) fn percent(text: &str) -> String {
    utf8_percent_encode(text, PART).to_string()
}

/// As JSON, quotes and all: `{"text": {{ title | json }}}`.
fn json(value: Value) -> Result<String, Error> {
    there(&value)?;
    serde_json::to_string(&value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}
