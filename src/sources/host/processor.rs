//! Processor time from `/proc/stat`, load from `/proc/loadavg`, time since boot from
//! `/proc/uptime`.

use super::proc_file::{ProcFiles, ReadError, parse, words};

/// A shorter span than this says nothing: 10 ticks of 10 ms on each processor.
const SHORTEST_SPAN: u64 = 10;

/// Processor time of the whole host since boot, in ticks (1/100 s), all processors added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct CpuTimes {
    /// All time there was.
    pub(super) total: u64,
    /// The part in which nothing ran: `idle` and `iowait`. Stolen time (the hypervisor gave it to
    /// another machine) counts as used: programs here had to wait for it.
    pub(super) idle: u64,
    /// Processors online.
    pub(super) cpus: u32,
}

/// Reads [`CpuTimes`]; `None` without `/proc/stat`.
///
/// # Errors
/// [`ReadError`] when the file cannot be read or understood.
pub(super) fn cpu_times(files: &mut ProcFiles) -> Result<Option<CpuTimes>, ReadError> {
    let Some(file) = files.read("proc/stat")? else { return Ok(None) };
    let mut times = None;
    let mut cpus = 0;
    for (n, line) in file.lines() {
        let Some(rest) = line.strip_prefix(b"cpu") else {
            // The lines of the processors come first.
            break;
        };
        if rest.first() != Some(&b' ') {
            cpus += 1;
            continue;
        }
        // user nice system idle iowait irq softirq steal; guest time is within user and nice.
        let mut ticks = [0_u64; 8];
        let mut found = 0;
        for (place, word) in ticks.iter_mut().zip(words(rest)) {
            *place =
                parse(word).ok_or_else(|| file.malformed(n, "processor times as numbers", rest))?;
            found += 1;
        }
        if found < 4 {
            return Err(file.malformed(n, "at least 4 processor times", rest));
        }
        let total = ticks.iter().fold(0, |sum: u64, t| sum.saturating_add(*t));
        times = Some((total, ticks[3].saturating_add(ticks[4])));
    }
    let (total, idle) = times.ok_or_else(|| file.lacks("line 'cpu'"))?;
    Ok(Some(CpuTimes { total, idle, cpus }))
}

/// Turns readings into the part in use between them.
#[derive(Debug, Default)]
pub(super) struct CpuMeter {
    last: Option<CpuTimes>,
    used: Option<f64>,
}

impl CpuMeter {
    /// Whether there is a reading to compare with.
    pub(super) fn is_primed(&self) -> bool {
        self.last.is_some()
    }

    /// The part in use since the last reading, 0 to 1. A reading that follows too soon changes
    /// nothing; after processors went away it starts afresh.
    pub(super) fn next(&mut self, now: CpuTimes) -> Option<f64> {
        let Some(last) = self.last else {
            self.last = Some(now);
            return None;
        };
        if now.total < last.total {
            self.last = Some(now);
            self.used = None;
        } else if now.total - last.total >= SHORTEST_SPAN * u64::from(now.cpus.max(1)) {
            let span = now.total - last.total;
            // iowait, and so idle time, may go back a little on some kernels.
            let idle = now.idle.saturating_sub(last.idle).min(span);
            self.last = Some(now);
            self.used = Some((span - idle) as f64 / span as f64);
        }
        self.used
    }
}

/// Load averages over 1, 5 and 15 minutes.
///
/// # Errors
/// [`ReadError`] when the file cannot be read or understood.
pub(super) fn load(files: &mut ProcFiles) -> Result<Option<[f64; 3]>, ReadError> {
    let Some(file) = files.read("proc/loadavg")? else { return Ok(None) };
    let line = file.lines().next().map_or(&b""[..], |(_, line)| line);
    let mut found = words(line).map_while(amount);
    match (found.next(), found.next(), found.next()) {
        (Some(one), Some(five), Some(fifteen)) => Ok(Some([one, five, fifteen])),
        _ => Err(file.malformed(1, "three load averages", line)),
    }
}

/// Seconds since boot.
///
/// # Errors
/// [`ReadError`] when the file cannot be read or understood.
pub(super) fn uptime(files: &mut ProcFiles) -> Result<Option<f64>, ReadError> {
    let Some(file) = files.read("proc/uptime")? else { return Ok(None) };
    let line = file.lines().next().map_or(&b""[..], |(_, line)| line);
    match words(line).next().and_then(amount) {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(file.malformed(1, "seconds since boot", line)),
    }
}

/// A number that is none of infinite, negative or "not a number".
pub(super) fn amount(word: &[u8]) -> Option<f64> {
    parse(word).filter(|n: &f64| n.is_finite() && *n >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Tree;
    use super::*;

    fn times(total: u64, idle: u64) -> CpuTimes {
        CpuTimes { total, idle, cpus: 2 }
    }

    #[test]
    fn idle_and_iowait_are_unused_and_steal_is_used() {
        let text = "cpu  100 10 50 800 40 5 5 90 30 3\ncpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 5 6\n";
        let tree = Tree::new(&[("proc/stat", text)]);
        let found = cpu_times(&mut tree.files()).unwrap().unwrap();
        assert_eq!(found, CpuTimes { total: 1100, idle: 840, cpus: 2 });
    }

    #[test]
    fn malformed_times_are_errors() {
        let message = |text: &str| {
            let tree = Tree::new(&[("proc/stat", text)]);
            let error = cpu_times(&mut tree.files()).unwrap_err().to_string();
            error.replace(tree.path().to_str().unwrap(), "ROOT")
        };
        let expected = "ROOT/proc/stat:1: expected processor times as numbers, found '1 2 x 4'";
        assert_eq!(message("cpu  1 2 x 4\n"), expected);
        let expected = "ROOT/proc/stat:1: expected at least 4 processor times, found '1 2 3'";
        assert_eq!(message("cpu  1 2 3\n"), expected);
        assert_eq!(message("intr 1\n"), "ROOT/proc/stat: it has no line 'cpu'");
        assert_eq!(message(""), "ROOT/proc/stat: it has no line 'cpu'");
    }

    #[test]
    fn the_part_in_use_is_between_two_readings() {
        let mut meter = CpuMeter::default();
        assert_eq!(meter.next(times(1000, 900)), None);
        assert_eq!(meter.next(times(1200, 950)), Some(0.75));
        assert_eq!(meter.next(times(1210, 950)), Some(0.75), "too soon to say");
        assert_eq!(meter.next(times(1400, 1150)), Some(0.0), "measured from the last that counted");
        assert_eq!(meter.next(times(1500, 1140)), Some(1.0), "idle time went back");
        assert_eq!(meter.next(times(900, 100)), None, "processors went away");
        assert_eq!(meter.next(times(1000, 150)), Some(0.5));
    }

    #[test]
    fn load_and_uptime_are_read() {
        let tree = Tree::new(&[
            ("proc/loadavg", "0.52 1.25 12.00 3/456 7890\n"),
            ("proc/uptime", "12345.67 54321.00\n"),
        ]);
        assert_eq!(load(&mut tree.files()).unwrap(), Some([0.52, 1.25, 12.0]));
        assert_eq!(uptime(&mut tree.files()).unwrap(), Some(12345.67));
        for (load_text, uptime_text) in [("", ""), ("0.5 0.5", "-1"), ("a b c", "NaN 1")] {
            let tree = Tree::new(&[("proc/loadavg", load_text), ("proc/uptime", uptime_text)]);
            let error = load(&mut tree.files()).unwrap_err().to_string();
            assert!(error.contains("loadavg:1: expected three load averages, found"), "{error}");
            let error = uptime(&mut tree.files()).unwrap_err().to_string();
            assert!(error.contains("uptime:1: expected seconds since boot, found"), "{error}");
        }
    }
}
