//! The JSON schema of the configuration, from the table of keys: for editors.

use serde_json::{Map, Value, json};

use super::keys::{Key, Kind, ROOT};

/// The schema as JSON (draft 2020-12).
pub fn json() -> Value {
    let mut schema = table(ROOT, false);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("keepwell");
    schema
}

fn table(keys: &[Key], open: bool) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> =
        keys.iter().filter(|key| key.doc.ends_with("Required.")).map(|key| key.name).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": open,
    })
}

fn property(key: &Key) -> Value {
    let or_off = |schema: Value| json!({ "anyOf": [schema, { "const": false }] });
    let mut schema = match key.kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Integer(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
        Kind::Number => json!({ "type": "number" }),
        Kind::Duration => json!({
            "type": "string",
            "pattern": "^\\s*([0-9.]+\\s*(ms|s|sec|seconds?|m|min|minutes?|h|hours?|d|days?|w|weeks?)\\s*)+$",
        }),
        Kind::Level => or_off(json!({
            "anyOf": [
                { "type": "string", "pattern": "^\\s*[0-9.]+\\s*%?\\s*$" },
                { "type": "number", "exclusiveMinimum": 0 },
            ],
        })),
        Kind::Size => json!({
            "type": "string",
            "pattern": "^\\s*[0-9.]+\\s*(B|K|M|G|T|KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB)$",
        }),
        Kind::Text => json!({ "type": "string", "minLength": 1 }),
        Kind::OneOf(words) => json!({ "enum": words }),
        Kind::TextList => json!({
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
        }),
        Kind::TextMap => {
            json!({ "type": "object", "additionalProperties": { "type": "string" } })
        }
        Kind::Secret => {
            let one = |way: &str| {
                json!({
                    "type": "object",
                    "properties": { way: { "type": "string", "minLength": 1 } },
                    "required": [way],
                    "additionalProperties": false,
                })
            };
            let text = json!({ "type": "string", "minLength": 1 });
            json!({ "anyOf": [text, one("credential"), one("env"), one("file")] })
        }
        Kind::Listen => or_off(json!({
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
        })),
        Kind::Attempts => or_off(json!({ "type": "integer", "minimum": 1 })),
        Kind::Table(keys) => table(keys, false),
        Kind::Switch(keys) => or_off(table(keys, false)),
        Kind::Sections(keys) => json!({ "type": "array", "items": table(keys, false) }),
        Kind::OpenSections(keys) => json!({ "type": "array", "items": table(keys, true) }),
    };
    schema["description"] = json!(key.doc);
    if let Some(value) = default(key) {
        schema["default"] = value;
    }
    schema
}

/// The default as JSON, which the table holds as TOML.
fn default(key: &Key) -> Option<Value> {
    if key.default.is_empty() {
        return None;
    }
    let document: toml::Table = format!("v = {}", key.default).parse().ok()?;
    serde_json::to_value(document.get("v")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_knows_types_defaults_and_what_is_required() {
        let schema = json();
        let unit = &schema["properties"]["unit"]["items"];
        assert_eq!(unit["required"], json!(["name"]));
        assert_eq!(unit["additionalProperties"], json!(false));
        assert_eq!(unit["properties"]["severity"]["enum"], json!(["warning", "critical"]));
        let interval = &schema["properties"]["agent"]["properties"]["interval"];
        assert_eq!(interval["default"], json!("30s"));
        assert_eq!(schema["properties"]["channel"]["items"]["additionalProperties"], json!(true));
    }
}
