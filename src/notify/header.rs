//! Headers that a configuration adds to requests; `own` are those that keepwell sets itself.

use reqwest::header::{HeaderName, HeaderValue};

/// A header whose value is not to be shown.
///
/// # Errors
/// Why it cannot be sent, without its value.
pub(super) fn parse(
    name: &str,
    value: &str,
    own: &[&str],
) -> Result<(HeaderName, HeaderValue), String> {
    let header = self::name(name, own)?;
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        format!("the value of the header '{name}' has characters that no header can hold")
    })?;
    value.set_sensitive(true);
    Ok((header, value))
}

/// The name of one.
///
/// # Errors
/// Why it cannot be sent.
pub(super) fn name(name: &str, own: &[&str]) -> Result<HeaderName, String> {
    let header = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("'{name}' is not a valid header name"))?;
    if own.contains(&header.as_str()) {
        return Err(format!("the header '{name}' is set by keepwell itself"));
    }
    Ok(header)
}
