//! When requests are due.
//!
//! Tickets are numbered. In a closed loop a free connection takes the next one at once. In an open loop
//! ticket `n` is due at `start + n / rate`; a pacer hands out tickets as they fall due and free
//! connections take them in order, late ones first. tokio's timers are as coarse as a millisecond, so the
//! pacer sleeps on a timer of the kernel.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Each connection sends again as soon as it has its answer.
    Closed,
    /// So many requests a second, whatever the server does.
    Open {
        /// Requests a second.
        rate: f64,
    },
}

/// Hands out tickets on one thread.
pub(super) struct Tickets {
    pace: Pace,
    start: Instant,
    next: Cell<u64>,
    /// No ticket from this one on; known when the load ends.
    end: Cell<u64>,
    due: Semaphore,
}

/// The right to send one request, and since when.
pub(super) struct Ticket {
    pub(super) number: u64,
    pub(super) due: Instant,
}

impl Tickets {
    pub(super) fn new(pace: Pace, start: Instant, count: Option<u64>) -> Self {
        let (next, end) = (Cell::new(0), Cell::new(count.unwrap_or(u64::MAX)));
        Self { pace, start, next, end, due: Semaphore::new(0) }
    }

    /// The next ticket, when it is due; nothing when the load has ended.
    pub(super) async fn take(&self) -> Option<Ticket> {
        if let Pace::Open { .. } = self.pace {
            self.due.acquire().await.ok()?.forget();
        }
        let number = self.next.get();
        if number >= self.end.get() {
            return None;
        }
        self.next.set(number + 1);
        let due = match self.pace {
            Pace::Closed => Instant::now(),
            Pace::Open { rate } => self.due_at(number, rate),
        };
        Some(Ticket { number, due })
    }

    /// Hands out tickets as they fall due, until `stop` says so; `connections` may be waiting then.
    pub(super) async fn run(&self, connections: usize, stop: impl Fn() -> bool) -> io::Result<()> {
        let mut handed = 0u64;
        let timer = Timer::new()?;
        while !stop() && handed.max(self.next.get()) < self.end.get() {
            let Pace::Open { rate } = self.pace else {
                timer.sleep(Duration::from_millis(5)).await?;
                continue;
            };
            let fallen = (self.start.elapsed().as_secs_f64() * rate).floor() as u64 + 1;
            let fallen = fallen.min(self.end.get());
            self.due.add_permits(fallen.saturating_sub(handed) as usize);
            handed = handed.max(fallen);
            let pause = self.due_at(handed, rate).saturating_duration_since(Instant::now());
            // Never so long that a wish to stop would have to wait.
            timer.sleep(pause.clamp(Duration::from_micros(20), Duration::from_millis(100))).await?;
        }
        if let Pace::Open { .. } = self.pace {
            // What fell due is still sent, late as it is; behind that, every connection finds the end.
            self.end.set(handed);
            self.due.add_permits(connections);
        } else {
            self.end.set(self.next.get().min(self.end.get()));
        }
        Ok(())
    }

    fn due_at(&self, number: u64, rate: f64) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 / rate)
    }
}

/// A timer of the kernel, exact to some microseconds.
struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for objects that change their descriptor; an OwnedFd does not"
    )]
    fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self(AsyncFd::new(timerfd_create(TimerfdClockId::Monotonic, flags)?)?))
    }

    async fn sleep(&self, pause: Duration) -> io::Result<()> {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let then = Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: i64::from(pause.subsec_nanos()) };
        let once = Itimerspec { it_interval: never, it_value: then };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        let mut ready = self.0.readable().await?;
        let mut expirations = [0; 8];
        match rustix::io::read(self.0.get_ref(), &mut expirations) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        ready.clear_ready();
        Ok(())
    }
}
