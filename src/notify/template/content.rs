//! The body that a user's template makes: what it is to be, and whether it is that.

use reqwest::header::HeaderValue;

use crate::config::{Key, KeyKind, Reader};

pub(in crate::notify) const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(in crate::notify) const KEY: Key = Key {
    name: "content_type",
    kind: KeyKind::Text,
    default: "\"application/json\"",
    example: "\"text/plain; charset=utf-8\"",
    doc: "What the body is; JSON is checked.",
};

/// Reads `content_type` of a `template`: what the body is.
pub(in crate::notify) fn read(template: &mut Reader<'_>) -> HeaderValue {
    let Some((text, at)) = template.text_at("content_type") else { return JSON };
    HeaderValue::from_str(&text).unwrap_or_else(|_| {
        let message = "`template.content_type` has characters that no header can hold";
        template.sink().error(at, message);
        JSON
    })
}

/// Whether it is to be JSON.
pub(in crate::notify) fn is_json(content_type: &HeaderValue) -> bool {
    let text = content_type.to_str().unwrap_or_default();
    text.split(';').next().is_some_and(|kind| kind.trim().to_ascii_lowercase().ends_with("json"))
}

/// Whether a text is JSON, and if not, why.
pub(in crate::notify) fn valid(text: &str) -> Result<(), String> {
    let error = match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    Err(format!(
        "what it makes is not JSON: {error}; write values as {{{{ … | json }}}}, without quotes \
         around them, or set another content_type"
    ))
}
