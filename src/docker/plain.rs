//! What an engine says of a container, within bounds: whoever answers on its socket, or may start
//! containers there, chooses names, images and labels.

use std::collections::BTreeMap;

/// How long the name of a container may be, in bytes. Docker sets no limit; those that Kubernetes
/// makes have up to 430.
const NAME: usize = 512;
/// An id has 64.
const ID: usize = 128;
/// How long other texts may be, in characters.
const SHORT: usize = 512;
/// How much all labels of one container may take, in bytes.
const LABELS: usize = 16 * 1024;

/// Whether this is the id of a container.
pub(super) fn is_id(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !id.is_empty() && id.len() <= ID && id.chars().all(plain)
}

/// A container's name. One that neither Docker nor Podman lets anybody give goes by its id: names
/// stand in logs, commands and addresses.
pub(super) fn name<'a>(name: &'a str, id: &'a str) -> &'a str {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if name.is_empty() || (begins && name.len() <= NAME && name.chars().all(plain)) {
        name
    } else {
        id
    }
}

/// A text without control characters, such as an image.
pub(super) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHORT).collect()
}

/// As many labels as there is room for: those that keepwell knows first, then short before long.
pub(super) fn labels(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let size = |key: &str, value: &str| key.len() + value.len();
    if labels.iter().map(|(key, value)| size(key, value)).sum::<usize>() <= LABELS {
        return labels;
    }
    let known = |key: &str| key.starts_with("keepwell.") || key.starts_with("com.docker.compose.");
    let mut all: Vec<(bool, usize, String)> =
        labels.iter().map(|(key, value)| (!known(key), size(key, value), key.clone())).collect();
    all.sort_unstable();
    let mut room = LABELS;
    for (_, size, key) in all {
        match room.checked_sub(size) {
            Some(rest) => room = rest,
            None => _ = labels.remove(&key),
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nobody_can_give_is_none() {
        let id = "ab".repeat(32);
        let long = "k8s_".to_owned() + &"p".repeat(400);
        for good in ["web", "shop-web-1", "a.b_c", "1", "", &long] {
            assert_eq!(name(good, &id), good);
        }
        let endless = "x".repeat(NAME + 1);
        for bad in ["a b", "a\nb", "\u{1b}[31m", "a/b", "..", "-rf", "a;b", "é", &endless] {
            assert_eq!(name(bad, &id), id, "{bad:?}");
        }
        assert!(is_id(&id) && is_id("a"));
        let endless = "a".repeat(ID + 1);
        for bad in ["", "..", "a/b", "a\nb", "a b", "é", &endless] {
            assert!(!is_id(bad), "{bad:?}");
        }
        assert_eq!(short("a\u{1b}:\n1"), "a:1");
        assert_eq!(short(&"é".repeat(9000)).chars().count(), SHORT);
    }

    #[test]
    fn labels_for_which_there_is_no_room_are_left_out_the_longest_first() {
        let of = |all: &[(&str, usize)]| -> BTreeMap<String, String> {
            all.iter().map(|(key, size)| ((*key).to_owned(), "v".repeat(*size))).collect()
        };
        let few = of(&[("a", 10_000), ("b", 6_000)]);
        assert_eq!(labels(few.clone()), few);
        let many = of(&[("a", 12_000), ("b", 12_000), ("c", 5), ("keepwell.port", 9000)]);
        let left: Vec<String> = labels(many).into_keys().collect();
        assert_eq!(left, ["c", "keepwell.port"]);
        assert!(labels(of(&[("keepwell.port", LABELS)])).is_empty());
    }
}
