//! Memory and swap from `/proc/meminfo`, and the kernel's out-of-memory kills from `/proc/vmstat`.

use crate::engine::observation::Amount;

use super::proc_file::{Content, ProcFiles, ReadError, parse, words};

const KIB: &str = "a number of kB";

/// Memory and swap, in bytes. Memory counts as available by the kernel's own estimate
/// (`MemAvailable`: what programs can still get without swapping). Swap is `None` where there is
/// none; both are `None` without `/proc/meminfo`.
///
/// # Errors
/// [`ReadError`] when the file cannot be read or understood.
pub(super) fn memory(files: &mut ProcFiles) -> Result<(Option<Amount>, Option<Amount>), ReadError> {
    let Some(file) = files.read("proc/meminfo")? else { return Ok((None, None)) };
    let [mut total, mut available, mut swap, mut swap_free] = [None; 4];
    for (n, line) in file.lines() {
        let (place, rest) = if let Some(rest) = line.strip_prefix(b"MemTotal:") {
            (&mut total, rest)
        } else if let Some(rest) = line.strip_prefix(b"MemAvailable:") {
            (&mut available, rest)
        } else if let Some(rest) = line.strip_prefix(b"SwapTotal:") {
            (&mut swap, rest)
        } else if let Some(rest) = line.strip_prefix(b"SwapFree:") {
            (&mut swap_free, rest)
        } else {
            continue;
        };
        *place = Some(kib(&file, n, rest)?);
    }
    let amount = |(total, available)| Amount { total, available };
    let memory = total.zip(available).map(amount).ok_or_else(|| {
        file.lacks(if total.is_none() { "line 'MemTotal'" } else { "line 'MemAvailable'" })
    })?;
    Ok((Some(memory), swap.filter(|total| *total > 0).zip(swap_free).map(amount)))
}

/// Bytes of a text such as `  16301234 kB`.
fn kib(file: &Content<'_>, line: usize, text: &[u8]) -> Result<u64, ReadError> {
    let mut words = words(text);
    let number: Option<u64> = words.next().and_then(parse);
    match (number.and_then(|n| n.checked_mul(1024)), words.next()) {
        (Some(bytes), Some(b"kB")) => Ok(bytes),
        _ => Err(file.malformed(line, KIB, text)),
    }
}

/// Processes that the kernel killed for want of memory since boot; `None` on kernels before 4.13.
///
/// # Errors
/// [`ReadError`] when the file cannot be read or understood.
pub(super) fn oom_kills(files: &mut ProcFiles) -> Result<Option<u64>, ReadError> {
    let Some(file) = files.read("proc/vmstat")? else { return Ok(None) };
    file.after("oom_kill").map(|(n, rest)| file.number(n, rest, "a number")).transpose()
}

#[cfg(test)]
mod tests {
    use super::super::tests::Tree;
    use super::*;

    const MEMINFO: &str = "MemTotal:       16000000 kB\nMemFree:          400000 kB\n\
        MemAvailable:    4000000 kB\nSwapTotal:       2000000 kB\nSwapFree:        1500000 kB\n";

    #[test]
    fn memory_is_what_the_kernel_calls_available() {
        let tree = Tree::new(&[("proc/meminfo", MEMINFO)]);
        let (memory, swap) = memory(&mut tree.files()).unwrap();
        let memory = memory.unwrap();
        assert_eq!(memory, Amount { total: 16_384_000_000, available: 4_096_000_000 });
        assert_eq!(memory.used_ratio(), 0.75);
        assert_eq!(swap, Some(Amount { total: 2_048_000_000, available: 1_536_000_000 }));
    }

    #[test]
    fn a_host_without_swap_has_none() {
        let text = MEMINFO.replace("2000000", "0").replace("1500000", "0");
        let tree = Tree::new(&[("proc/meminfo", &text)]);
        assert_eq!(memory(&mut tree.files()).unwrap().1, None);
    }

    #[test]
    fn what_is_malformed_is_named_by_file_and_line() {
        let message = |text: &str| {
            let tree = Tree::new(&[("proc/meminfo", text)]);
            let error = memory(&mut tree.files()).unwrap_err().to_string();
            error.replace(tree.path().to_str().unwrap(), "ROOT")
        };
        assert_eq!(
            message(&MEMINFO.replace("4000000 kB", "lots")),
            "ROOT/proc/meminfo:3: expected a number of kB, found 'lots'"
        );
        assert_eq!(
            message(&MEMINFO.replace("16000000 kB", "18446744073709551615 kB")),
            "ROOT/proc/meminfo:1: expected a number of kB, found '18446744073709551615 kB'"
        );
        assert_eq!(message(""), "ROOT/proc/meminfo: it has no line 'MemTotal'");
        assert_eq!(message("MemTotal: 1 kB"), "ROOT/proc/meminfo: it has no line 'MemAvailable'");
    }

    #[test]
    fn no_file_is_not_an_error() {
        let tree = Tree::new(&[]);
        assert_eq!(memory(&mut tree.files()).unwrap(), (None, None));
        assert_eq!(oom_kills(&mut tree.files()).unwrap(), None);
    }

    #[test]
    fn kills_are_counted_by_their_own_line() {
        let text = "nr_free_pages 1\noom_kill_other 9\noom_kill 3\n";
        let tree = Tree::new(&[("proc/vmstat", text)]);
        assert_eq!(oom_kills(&mut tree.files()).unwrap(), Some(3));
        let tree = Tree::new(&[("proc/vmstat", "nr_free_pages 1\n")]);
        assert_eq!(oom_kills(&mut tree.files()).unwrap(), None);
        let tree = Tree::new(&[("proc/vmstat", "oom_kill -3\n")]);
        let error = oom_kills(&mut tree.files()).unwrap_err().to_string();
        assert!(error.ends_with("/proc/vmstat:1: expected a number, found '-3'"), "{error}");
    }
}
