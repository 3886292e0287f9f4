//! The wall clock steps back and forth, also under a running server: nothing but the times in receipts depends on it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tenon_contract::receipt::Chain;
use tenon_scenarios::deed::{Deed, SERVICE};
use tenon_scenarios::server::{Home, Start};
use tenon_scenarios::site::Site;
use tenon_scenarios::skip;

/// What stands before the system's clock: seconds from a file are added to the wall clock, to no other.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    const char *path = getenv("SHIFT_FILE");
    FILE *file = id == CLOCK_REALTIME && path ? fopen(path, "r") : NULL;
    long seconds = 0;
    if (file) {
        if (fscanf(file, "%ld", &seconds) == 1) now->tv_sec += seconds;
        fclose(file);
    }
    return result;
}
"#;

const DAY: i64 = 24 * 3600;

/// A wall clock that can be set.
struct Clock {
    shim: PathBuf,
    shift: PathBuf,
}

impl Clock {
    /// Builds the shim; nothing where there is no compiler.
    fn new(home: &Home) -> Option<Self> {
        let (source, shim, shift) = (home.path("shim.c"), home.path("shim.so"), home.path("shift"));
        std::fs::write(&source, SHIM).unwrap();
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&shim, &source]).output();
        let clock = Self { shim, shift };
        clock.set(0);
        built.is_ok_and(|output| output.status.success()).then_some(clock)
    }

    fn set(&self, seconds: i64) {
        // By a rename: a reader never sees half a number.
        let partial = self.shift.with_extension("partial");
        std::fs::write(&partial, seconds.to_string()).unwrap();
        std::fs::rename(&partial, &self.shift).unwrap();
    }

    fn start(&self) -> Start {
        let text = |path: &Path| path.display().to_string();
        Start::default().with("LD_PRELOAD", &text(&self.shim)).with("SHIFT_FILE", &text(&self.shift))
    }
}

#[test]
fn no_behaviour_depends_on_the_wall_clock() {
    let mut site = Site::new().unwrap();
    let Some(clock) = Clock::new(&site.home) else { return skip("no C compiler") };
    for step in [-DAY, 400 * DAY, -40 * 365 * DAY] {
        let server = site.start(&clock.start()).unwrap();
        site.judge(&server).unwrap();
        let swap = Deed::Swap(site.account.other().unwrap());
        site.must(&server, swap).unwrap();
        // Under the running server, between two changes.
        clock.set(step);
        site.must(&server, Deed::Undo).unwrap();
        let push = Deed::Push(site.upload(2).unwrap());
        site.must(&server, push).unwrap();
        site.judge(&server).unwrap();
        let swap = Deed::Swap(site.account.other().unwrap());
        site.must(&server, swap).unwrap();
        site.judge(&server).unwrap();
        server.kill().unwrap();
    }
    let server = site.start(&clock.start()).unwrap();
    site.judge(&server).unwrap();
    let path = site.home.data().join(format!("node/receipts/{SERVICE}.chain"));
    let chain = Chain::read(&std::fs::read_to_string(path).unwrap(), None).unwrap();
    let times: Vec<u64> = chain.entries.iter().map(|(entry, _)| entry.at).collect();
    let backwards = times.windows(2).filter(|pair| pair[1] + 1000 < pair[0]).count();
    assert!(backwards >= 2, "the clock never went back, so nothing was tested: {times:?}");
}
