//! Enough of PromQL to see which metrics and labels an expression speaks of.

use std::collections::BTreeSet;

use keepwell::engine::{AlertKind, CheckKind};
use keepwell::surfaces::metrics::known;

/// What Prometheus itself puts on every series.
const FROM_PROMETHEUS: [&str; 2] = ["job", "instance"];

/// What an expression speaks of.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Labels that its result may have.
    pub(crate) labels: BTreeSet<String>,
    pub(crate) metrics: BTreeSet<String>,
    /// What is wrong with it.
    pub(crate) faults: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A name, a keyword, or a number with its unit.
    Word(String),
    Text(String),
    Sign(char),
}

fn tokens(expr: &str) -> Vec<Token> {
    let mut all = Vec::new();
    let mut rest = expr.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '"' || c == '\'' {
            let mut text = String::new();
            while let Some(inner) = rest.next().filter(|i| *i != c) {
                text.push(inner);
                if inner == '\\' {
                    text.extend(rest.next());
                }
            }
            all.push(Token::Text(text));
        } else if c.is_alphanumeric() || "_:$.".contains(c) {
            let mut word = String::from(c);
            while let Some(more) = rest.next_if(|n| n.is_alphanumeric() || "_:.".contains(*n)) {
                word.push(more);
            }
            all.push(Token::Word(word));
        } else if !c.is_whitespace() {
            all.push(Token::Sign(c));
        }
    }
    all
}

/// The labels of a metric; `None` when there is no such metric.
fn labels_of(metric: &str, records: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    let all = || known().flat_map(|e| e.labels).map(|l| (*l).to_owned());
    let mut labels: BTreeSet<String> = if records.contains(metric) {
        all().collect()
    } else if metric == "up" {
        BTreeSet::new()
    } else {
        known().find(|e| e.name == metric)?.labels.iter().map(|l| (*l).to_owned()).collect()
    };
    labels.extend(FROM_PROMETHEUS.map(String::from));
    Some(labels)
}

/// Looks through an expression; `records` are the names that recording rules give.
pub(crate) fn look(expr: &str, records: &BTreeSet<String>) -> Found {
    let tokens = tokens(expr);
    let mut found = Found::default();
    let mut listed = Vec::new();
    let sign = |i: usize, c: char| tokens.get(i) == Some(&Token::Sign(c));
    let mut i = 0;
    while i < tokens.len() {
        let Token::Word(word) = &tokens[i] else {
            i += 1;
            continue;
        };
        let is_list = matches!(
            word.as_str(),
            "by" | "without" | "on" | "ignoring" | "group_left" | "group_right"
        );
        if is_list && sign(i + 1, '(') {
            i += 2;
            while i < tokens.len() && !sign(i, ')') {
                if let Token::Word(label) = &tokens[i] {
                    listed.push(label.clone());
                }
                i += 1;
            }
        } else if word == "label_replace" {
            // The strings that follow: new label, its value, old label, pattern.
            let texts: Vec<&String> = strings_behind(&tokens[i..]);
            if let [.., new, _, old, _] = texts.as_slice() {
                found.labels.insert((*new).clone());
                listed.push((*old).clone());
            } else {
                found.faults.push("label_replace cannot be read".into());
            }
        } else if word == "up" || word.starts_with("keepwell") || word.contains(':') {
            found.metrics.insert(word.clone());
            let labels = labels_of(word, records);
            if labels.is_none() {
                found.faults.push(format!("there is no metric {word}"));
            }
            if sign(i + 1, '{') {
                let end = (i..tokens.len()).find(|end| sign(*end, '}')).unwrap_or(tokens.len());
                matchers(word, &tokens[i + 2..end], labels.as_ref(), &mut found.faults);
                i = end;
            }
            found.labels.extend(labels.unwrap_or_default());
        }
        i += 1;
    }
    for label in listed {
        if !found.labels.contains(&label) {
            found.faults.push(format!("no metric of it has the label {label}"));
        }
    }
    if found.metrics.is_empty() {
        found.faults.push("it speaks of no metric".into());
    }
    found
}

/// The strings up to the end of the call that begins here, but for those in selectors.
fn strings_behind(tokens: &[Token]) -> Vec<&String> {
    let (mut depth, mut braces, mut texts) = (0, 0, Vec::new());
    for token in &tokens[1..] {
        match token {
            Token::Sign('(') => depth += 1,
            Token::Sign(')') => depth -= 1,
            Token::Sign('{') => braces += 1,
            Token::Sign('}') => braces -= 1,
            Token::Text(text) if depth == 1 && braces == 0 => texts.push(text),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    texts
}

fn matchers(
    metric: &str,
    inside: &[Token],
    labels: Option<&BTreeSet<String>>,
    faults: &mut Vec<String>,
) {
    let mut label = None;
    let mut exact = false;
    for token in inside {
        match token {
            Token::Word(name) => {
                if labels.is_some_and(|l| !l.contains(name)) {
                    faults.push(format!("{metric} has no label {name}"));
                }
                (label, exact) = (Some(name.as_str()), true);
            }
            Token::Sign('~' | '!') => exact = false,
            Token::Text(value) if exact => {
                let fits = match label {
                    Some("kind") => CheckKind::ALL.iter().any(|k| k.as_str() == value),
                    Some("condition") => AlertKind::ALL.iter().any(|k| k.as_str() == value),
                    Some("severity") => {
                        ["healthy", "unknown", "warning", "critical"].contains(&value.as_str())
                    }
                    _ => true,
                };
                if !fits {
                    faults.push(format!("{metric} has no {} {value}", label.unwrap_or_default()));
                }
            }
            _ => {}
        }
    }
}
