//! What Linux tells of this process and its machine. Where it tells nothing there are no figures.

use std::fs;

/// Ticks of a second in `/proc`, the same on every Linux.
const TICKS: f64 = 100.0;

/// The figures of this process.
pub(super) struct Process {
    /// Processor time, seconds.
    pub(super) cpu: f64,
    /// Bytes in main memory.
    pub(super) resident: u64,
    /// When it started, seconds since 1970.
    pub(super) start: f64,
    /// Files and sockets that it has open.
    pub(super) files: usize,
}

impl Process {
    pub(super) fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program stands in parentheses and may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |number: usize| Some(fields.get(number - 3)?.parse::<u64>().ok()? as f64 / TICKS);
        let booted = of_line(&fs::read_to_string("/proc/stat").ok()?, "btime ")?;
        Some(Self {
            cpu: ticks(14)? + ticks(15)?,
            resident: of_line(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")? * 1024,
            start: booted as f64 + ticks(22)?,
            files: fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1),
        })
    }
}

/// The memory of the machine: all and used, bytes.
pub(super) fn memory() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |name: &str| Some(of_line(&text, name)? * 1024);
    let total = bytes("MemTotal:")?;
    Some((total, total.saturating_sub(bytes("MemAvailable:")?)))
}

/// The time of all processors since the machine started: busy, and all, ticks.
pub(super) fn processors() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let times = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    // user nice system idle iowait irq softirq steal; the rest is in these already.
    let times: Vec<u64> = times.take(8).map_while(|time| time.parse().ok()).collect();
    let all: u64 = times.iter().sum();
    Some((all - times.get(3)? - times.get(4)?, all))
}

/// The first number of the line that begins so.
fn of_line(text: &str, begin: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(begin))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_tells() {
        let process = Process::read().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(process.resident > 1 << 20 && process.files >= 3 && process.cpu < 3600.0);
        assert!(process.start < now + 2.0 && process.start > now - 3600.0, "{} {now}", process.start);
        let ((total, used), (busy, all)) = (memory().unwrap(), processors().unwrap());
        assert!(total > used && used > 0 && all > busy && busy > 0);
    }
}
