//! The JSON schema of the configuration, from the table of keys: for editors.

use serde_json::{Map, Value, json};

use super::keys::{Key, Kind, ROOT};

/// The types of a section, each with its own keys.
type Types<'a> = Vec<(&'a str, &'a [Key])>;

/// The schema as JSON (draft 2020-12). `kinds` are the sections whose keys depend
/// on their type, and the types there are of each, with their own keys.
pub fn json(kinds: &[(&str, Types<'_>)]) -> Value {
    let mut schema = table(ROOT, false);
    for (section, kinds) in kinds {
        if kinds.is_empty() {
            continue;
        }
        // Which keys there are depends on the type.
        let types: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
        let items = &mut schema["properties"][section]["items"];
        items["properties"]["type"]["enum"] = json!(types);
        items["allOf"] = kinds.iter().map(|(name, keys)| of_type(name, keys)).collect();
        if let Some(items) = items.as_object_mut() {
            items.remove("additionalProperties");
        }
        items["unevaluatedProperties"] = json!(false);
    }
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("keepwell");
    schema
}

/// What holds for sections of one type.
fn of_type(name: &str, keys: &[Key]) -> Value {
    let keys = table(keys, true);
    json!({
        "if": { "properties": { "type": { "const": name } }, "required": ["type"] },
        "then": { "properties": keys["properties"], "required": keys["required"] },
    })
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
    let mut schema = value(key.kind);
    schema["description"] = json!(key.doc);
    if let Some(value) = default(key) {
        schema["default"] = value;
    }
    schema
}

/// What a value of this kind looks like.
fn value(kind: Kind) -> Value {
    let or_off = |schema: Value| json!({ "anyOf": [schema, { "const": false }] });
    match kind {
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
        Kind::Address => json!({ "type": "string", "pattern": "^\\s*https?://[^/]" }),
        Kind::OneOf(words) => json!({ "enum": words }),
        Kind::TextList => json!({
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
        }),
        Kind::Identifiers => {
            let one = json!({ "type": ["string", "integer"] });
            json!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
        Kind::TextMap => {
            json!({ "type": "object", "additionalProperties": { "type": "string" } })
        }
        Kind::SecretMap => {
            json!({ "type": "object", "additionalProperties": value(Kind::Secret) })
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
        Kind::DurationOrOff => or_off(value(Kind::Duration)),
        Kind::SecretOrOff => or_off(value(Kind::Secret)),
        Kind::Attempts => or_off(json!({ "type": "integer", "minimum": 1 })),
        Kind::Table(keys) => table(keys, false),
        Kind::Switch(keys) => or_off(table(keys, false)),
        Kind::Sections(keys) => json!({ "type": "array", "items": table(keys, false) }),
        Kind::OpenSections(keys) => json!({ "type": "array", "items": table(keys, true) }),
    }
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
        const KEYS: &[Key] = &[Key {
            name: "url",
            kind: Kind::Secret,
            default: "",
            example: "{ credential = \"ops-url\" }",
            doc: "Where to. Required.",
        }];
        let schema = json(&[("channel", vec![("webhook", KEYS), ("other", &[])])]);
        let unit = &schema["properties"]["unit"]["items"];
        assert_eq!(unit["required"], json!(["name"]));
        assert_eq!(unit["additionalProperties"], json!(false));
        assert_eq!(unit["properties"]["severity"]["enum"], json!(["warning", "critical"]));
        let interval = &schema["properties"]["agent"]["properties"]["interval"];
        assert_eq!(interval["default"], json!("30s"));
        let channel = &schema["properties"]["channel"]["items"];
        assert_eq!(channel["properties"]["type"]["enum"], json!(["webhook", "other"]));
        assert_eq!(channel["unevaluatedProperties"], json!(false));
        assert_eq!(channel["allOf"][0]["if"]["properties"]["type"]["const"], "webhook");
        assert_eq!(channel["allOf"][0]["then"]["required"], json!(["url"]));
        assert!(channel["allOf"][0]["then"]["properties"]["url"]["anyOf"].is_array());
        assert_eq!(
            json(&[])["properties"]["channel"]["items"]["additionalProperties"],
            json!(true)
        );
    }
}
