//! Pressure stall information (PSI) from `/proc/pressure`.

use crate::engine::observation::PressureSeen;

use super::proc_file::{Content, ProcFiles, ReadError, words};
use super::processor::amount;

const RESOURCES: [(&str, &str); 3] =
    [("cpu", "proc/pressure/cpu"), ("memory", "proc/pressure/memory"), ("io", "proc/pressure/io")];

/// The pressure on each resource that the kernel accounts for, averaged over 60 s, and what could
/// not be read. A kernel without PSI, or with `psi=0`, gives neither.
pub(super) fn pressure(files: &mut ProcFiles, problems: &mut Vec<ReadError>) -> Vec<PressureSeen> {
    let mut seen = Vec::new();
    for (resource, name) in RESOURCES {
        let found = files.read(name).and_then(|file| match file {
            Some(file) => one(resource, &file).map(Some),
            None => Ok(None),
        });
        match found {
            Ok(found) => seen.extend(found),
            Err(e) => problems.push(e),
        }
    }
    seen
}

fn one(resource: &'static str, file: &Content<'_>) -> Result<PressureSeen, ReadError> {
    let some = average(file, "some")?.ok_or_else(|| file.lacks("line 'some'"))?;
    // For the processor `full` has no meaning for a whole host; kernels since 5.13 print zeros.
    let full = if resource == "cpu" { None } else { average(file, "full")? };
    Ok(PressureSeen { resource, some, full })
}

/// `avg60` of the line that starts with `kind`, as a part of 1.
fn average(file: &Content<'_>, kind: &str) -> Result<Option<f64>, ReadError> {
    let Some((n, rest)) = file.after(kind) else { return Ok(None) };
    words(rest)
        .find_map(|word| word.strip_prefix(b"avg60="))
        .and_then(amount)
        .filter(|percent| *percent <= 100.0)
        .map(|percent| Some(percent / 100.0))
        .ok_or_else(|| file.malformed(n, "avg60= with a percentage", rest))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Tree;
    use super::*;

    #[test]
    fn averages_over_a_minute_are_parts_of_one() {
        let tree = Tree::new(&[
            (
                "proc/pressure/cpu",
                "some avg10=1.00 avg60=12.50 avg300=0.94 total=69833427\n\
                 full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            ),
            (
                "proc/pressure/io",
                "some avg10=0.00 avg60=50.00 avg300=0.21 total=15276471\n\
                 full avg10=0.00 avg60=25.00 avg300=0.17 total=10708052\n",
            ),
        ]);
        let mut problems = Vec::new();
        let seen = pressure(&mut tree.files(), &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(
            seen,
            [
                PressureSeen { resource: "cpu", some: 0.125, full: None },
                PressureSeen { resource: "io", some: 0.5, full: Some(0.25) },
            ],
            "a file that is not there is not listed"
        );
    }

    #[test]
    fn one_bad_file_does_not_hide_the_others() {
        let tree = Tree::new(&[
            ("proc/pressure/cpu", "some avg10=1.00 avg60=101.0\n"),
            ("proc/pressure/memory", "full avg60=1.00\n"),
            ("proc/pressure/io", "some avg60=1.00\n"),
        ]);
        let mut problems = Vec::new();
        let seen = pressure(&mut tree.files(), &mut problems);
        assert_eq!(seen, [PressureSeen { resource: "io", some: 0.01, full: None }]);
        let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(text[0].contains("cpu:1: expected avg60= with a percentage"), "{text:?}");
        assert!(text[1].ends_with("memory: it has no line 'some'"), "{text:?}");
    }
}
