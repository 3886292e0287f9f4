//! Calls that are stopped say why, and their session serves on.

mod support;

use std::time::{Duration, Instant};

use support::{answer, answer_unless, fixture, floats, load, runtime};
use tenon_runtime::{Cancel, RunError};

fn stopped_after(time: Duration, deadline: Option<Instant>) -> Option<(RunError, Duration)> {
    let model = load(&runtime()?, &fixture("hostile/endless.onnx")).unwrap();
    let mut session = model.session().unwrap();
    let cancel = Cancel::new();
    let given = vec![floats("x", &[1, 4], &[0.0; 4])];
    std::thread::scope(|scope| {
        let call = scope.spawn(|| answer_unless(&*model, &mut *session, given, &cancel, deadline));
        std::thread::sleep(time);
        let fired = Instant::now();
        cancel.cancel();
        Some((call.join().unwrap().unwrap_err(), fired.elapsed()))
    })
}

#[test]
fn token_with_a_passed_deadline_is_a_deadline() {
    let time = Duration::from_millis(50);
    let Some((error, after)) = stopped_after(time, Some(Instant::now() + time)) else { return };
    assert_eq!(error, RunError::Deadline);
    assert!(after < Duration::from_millis(500), "ended {after:?} after the token fired");
}

#[test]
fn token_before_the_deadline_is_a_cancellation() {
    let late = Some(Instant::now() + Duration::from_secs(3600));
    let Some((error, _)) = stopped_after(Duration::from_millis(20), late) else { return };
    assert_eq!(error, RunError::Cancelled);
}

#[test]
fn stopped_session_serves_on() {
    let Some(runtime) = runtime() else { return };
    let model = load(&runtime, &fixture("onnx/slow.onnx")).unwrap();
    let mut session = model.session().unwrap();
    let given = || vec![floats("x", &[1, 4], &[1.0, 2.0, 3.0, 4.0])];
    for after in [0, 1, 3, 5] {
        let cancel = Cancel::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(after));
                cancel.cancel();
            });
            if let Err(error) = answer_unless(&*model, &mut *session, given(), &cancel, None) {
                assert_eq!(error, RunError::Cancelled);
            }
        });
        let found = answer(&*model, &mut *session, given()).unwrap();
        assert_eq!(found.tensors()[0].values::<f32>().unwrap().as_ref(), [2.0, 3.0, 4.0, 5.0]);
    }
}
