//! Whether a line that a program printed speaks of an error. Only the wording can tell: journald
//! gives all that services print the priority info.

/// How much of a line is looked at, in bytes.
const LOOKED_AT: usize = 2048;

/// Whether `line` speaks of an error of its own: words such as `error`, `fatal`, `panic` or `failed
/// to`, but not `0 errors`, `no error`, `error=0` or a path such as `/var/log/error.log`, and no line
/// that states a lower level itself (`level=info`).
pub(super) fn is_error(line: &str) -> bool {
    let line = &line[..line.floor_char_boundary(LOOKED_AT.min(line.len()))];
    let mut from = 0;
    let mut found = false;
    while let Some((start, end)) = next_word(line, from) {
        from = end;
        if tells(line, start, end) {
            found = true;
            break;
        }
    }
    found && !says_lower_level(line)
}

/// A run of letters, digits and `_` from `from` on.
fn next_word(line: &str, from: usize) -> Option<(usize, usize)> {
    let bytes = line.as_bytes();
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || !b.is_ascii();
    let start = from + bytes[from..].iter().position(is_word)?;
    let end = bytes[start..].iter().position(|b| !is_word(b)).map_or(line.len(), |n| start + n);
    Some((start, end))
}

fn tells(line: &str, start: usize, end: usize) -> bool {
    let word = &line[start..end];
    let (before, after) = (&line[..start], &line[end..]);
    let is = |known: &str| word.eq_ignore_ascii_case(known);
    let candidate = ["error", "errors", "fatal", "panic", "panicked", "exception", "traceback"]
        .iter()
        .any(|known| is(known))
        || is("critical")
        || is("segfault")
        || is_type(word)
        || ((is("failed") || is("failure")) && begins(after, " to "));
    candidate && !in_a_name(before, after) && !denied(before) && !harmless(word, before, after)
}

/// `TypeError`, `java.io.IOException`: a type's name that ends so.
fn is_type(word: &str) -> bool {
    ["Error", "Exception"].iter().any(|end| {
        word.strip_suffix(end).is_some_and(|rest| {
            rest.starts_with(|c: char| c.is_ascii_uppercase())
                && rest.ends_with(|c: char| c.is_ascii_alphanumeric())
        })
    })
}

/// Part of a path, a file name, a flag or a compound: `/error/`, `error.log`, `--on-error`,
/// `error-free`, `non-fatal`.
fn in_a_name(before: &str, after: &str) -> bool {
    // `errors.New("x")` and `java.lang.Error`: a dot before is a type's path, and tells.
    before.ends_with(['/', '-', '$', '@'])
        || after.starts_with(['/', '-'])
        || ([".log", ".html", ".txt", ".json", ".md", ".php", ".rs", ".go", ".py", ".js"]
            .iter()
            .any(|name| begins(after, name)))
}

/// `no error`, `0 errors`, `without errors`, `not fatal`.
fn denied(before: &str) -> bool {
    let last = before
        .trim_end_matches([' ', '"', '\''])
        .rsplit([' ', '(', ',', '=', ':', '[', '"'])
        .next();
    let last = last.unwrap_or_default();
    !last.is_empty()
        && before.len() > last.len()
        && before.ends_with(' ')
        && [
            "no", "0", "zero", "without", "not", "any", "non", "never", "ignore", "ignored",
            "ignoring",
        ]
        .iter()
        .any(|word| last.eq_ignore_ascii_case(word))
        || ["no", "0", "zero", "without", "not"]
            .iter()
            .any(|word| before.trim_end().eq_ignore_ascii_case(word))
}

/// `error=0`, `errors: none`, `error: null`, `"errors":[]`; `error rate`, `critical section`.
fn harmless(word: &str, before: &str, after: &str) -> bool {
    const NOTHING: [&str; 12] =
        ["0", "none", "null", "nil", "<nil>", "no", "false", "ok", "[]", "{}", "undefined", "-"];
    const NEXT: [&str; 16] = [
        "rate",
        "rates",
        "log",
        "logs",
        "handler",
        "handlers",
        "handling",
        "page",
        "pages",
        "reporting",
        "level",
        "budget",
        "correction",
        "section",
        "path",
        "threshold",
    ];
    let rest = after.trim_start_matches(['"', '\'', '\\']);
    let rest = rest.trim_start();
    let value =
        rest.strip_prefix([':', '=']).map(|value| value.trim_start_matches([' ', '"', '\'', '\\']));
    if let Some(value) = value {
        let end = value.find([' ', ',', ';', '"', '\'', '\\', ')']).unwrap_or(value.len());
        let end = if value.starts_with(['[', '{']) { value.len().min(2) } else { end };
        let value = value.get(..end).unwrap_or(value).trim_end_matches(['.', '}', ']']);
        let is_nothing =
            |known: &&str| value.eq_ignore_ascii_case(known.trim_end_matches(['}', ']']));
        // `error=""`, but not a bare `error:` at the end of a line, which continues on the next.
        return (value.is_empty() && rest.len() > 1 && rest.contains(['"', '\'']))
            || NOTHING.iter().any(is_nothing);
    }
    let next = after.trim_start().split([' ', ',', '.', ':', ';', '=']).next().unwrap_or_default();
    (after.starts_with(' ') && NEXT.iter().any(|known| next.eq_ignore_ascii_case(known)))
        || (word.eq_ignore_ascii_case("exception")
            && before.to_ascii_lowercase().ends_with("with the "))
}

/// The line names its own level, and it is no error: `level=info`, `"level":"debug"`, `[INFO]`,
/// `INFO ` at its beginning. Lines that name an error level never get here by this.
fn says_lower_level(line: &str) -> bool {
    const LEVELS: [&str; 5] = ["info", "debug", "trace", "notice", "verbose"];
    let head = &line[..line.floor_char_boundary(120.min(line.len()))];
    let lower = head.to_ascii_lowercase();
    LEVELS.iter().any(|level| {
        [
            format!("level={level}"),
            format!("level=\"{level}"),
            format!("\"level\":\"{level}"),
            format!("\"level\": \"{level}"),
            format!("lvl={level}"),
            format!("severity\":\"{level}"),
            format!("[{level}]"),
            format!("<{level}>"),
        ]
        .iter()
        .any(|form| lower.contains(form.as_str()))
            // After a time stamp at most, in capitals and on its own: `2026-11-21 06:28:40 INFO x`.
            || head
                .split([' ', '\t', '|'])
                .filter(|word| !word.is_empty())
                .take(4)
                .any(|word| {
                    let word = word.trim_end_matches(':');
                    word.len() == level.len()
                        && word.bytes().all(|b| b.is_ascii_uppercase())
                        && word.eq_ignore_ascii_case(level)
                })
    })
}

fn begins(text: &str, with: &str) -> bool {
    text.get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_by_their_wording() {
        for line in [
            "error: cannot open file",
            "ERROR something broke",
            "[error] upstream timed out",
            "2026-11-21 06:28:40 ERROR pool exhausted",
            "level=error msg=\"no route\"",
            r#"{"level":"error","msg":"x"}"#,
            "Error: connect ECONNREFUSED 127.0.0.1:5432",
            "3 errors found",
            "10 errors",
            "errors: 2",
            "error=timeout",
            "got an error while reading",
            "fatal: not a git repository",
            "FATAL:  role \"x\" does not exist",
            "panic: runtime error: index out of range",
            "thread 'main' panicked at src/main.rs:3:5:",
            "Traceback (most recent call last):",
            "TypeError: x is not a function",
            "Exception in thread \"main\" java.lang.NullPointerException",
            "java.io.IOException: broken pipe",
            "Unhandled exception.",
            "CRITICAL disk is full",
            "worker failed to start",
            "Failed to bind to address",
            "no route, error 113",
            "process ended with error",
            "error",
            "error:",
            "caf\u{e9} error \u{1f600}",
            "(error)",
            "INFORMATION lost: fatal error",
        ] {
            assert!(is_error(line), "{line}");
        }
    }

    #[test]
    fn what_only_names_errors_is_none() {
        for line in [
            "0 errors",
            "done, 0 errors, 0 warnings",
            "build finished with no errors",
            "no error",
            "No errors found",
            "completed without errors",
            "error=0",
            "errors=0 warnings=3",
            "errors: 0",
            "Errors: 0, warnings: 1",
            "error: none",
            "error=<nil>",
            "error=\"\"",
            r#"{"error":null,"ok":true}"#,
            r#"{"errors":[],"data":{}}"#,
            "\"error\": false",
            "error_count=7",
            "using /var/log/nginx/error.log",
            "GET /error/404 200",
            "started with --on-error=exit",
            "an error-free run",
            "a non-fatal condition",
            "not fatal, going on",
            "error rate 0.1 %",
            "custom error handler installed",
            "entering critical section",
            "with the exception of one",
            "an exceptional result",
            "terror and mirrors",
            "level=info msg=\"retrying after error\"",
            r#"{"level":"info","msg":"error budget reset, no fatal"}"#,
            "INFO: previous error was cleared",
            "2026-11-21T06:28:40Z INFO recovered from error",
            "[debug] error path taken",
            "failed over to the standby",
            "",
            "plain line",
        ] {
            assert!(!is_error(line), "{line}");
        }
    }

    #[test]
    fn odd_text_does_no_harm() {
        for line in ["error=", "error:\"", "é", "0", "errors:[", "\u{0}error\u{0}", "=error="] {
            let _ = is_error(line);
        }
        let long = format!("{}é error", "x".repeat(LOOKED_AT - 1));
        assert!(!is_error(&long), "beyond what is looked at");
    }
}
