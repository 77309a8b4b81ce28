//! A deadline for one machine on a host that may have many: what it waited for a
//! CPU is not its fault, and to give it up for that makes more of the same work.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Not even a starved machine is waited for longer than so many deadlines.
const MOST: u32 = 5;
/// It is looked at no more often.
const LOOK: Duration = Duration::from_millis(250);

/// Is over once `deadline` has passed without what the machine has waited for a
/// CPU, which `run_delay` says of the thread that waited the most.
pub(super) async fn over(deadline: Duration, run_delay: impl Fn() -> Duration) {
    let begin = Instant::now();
    let before = run_delay();
    let mut left = deadline;
    while !left.is_zero() {
        sleep(left.max(LOOK)).await;
        left = rest(deadline, begin.elapsed(), run_delay().saturating_sub(before));
    }
}

/// What is left of `deadline`.
fn rest(deadline: Duration, elapsed: Duration, starved: Duration) -> Duration {
    let most = (deadline * MOST).saturating_sub(elapsed);
    (deadline + starved).saturating_sub(elapsed).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn what_was_waited_for_a_cpu_is_not_spent() {
        let deadline = seconds(20);
        assert_eq!(rest(deadline, seconds(15), seconds(0)), seconds(5));
        assert_eq!(rest(deadline, seconds(20), seconds(0)), seconds(0));
        assert_eq!(rest(deadline, seconds(20), seconds(12)), seconds(12));
        assert_eq!(rest(deadline, seconds(40), seconds(12)), seconds(0));
        // One that waits all the time is not waited for for ever.
        assert_eq!(rest(deadline, seconds(90), seconds(89)), seconds(10));
        assert_eq!(rest(deadline, seconds(100), seconds(99)), seconds(0));
    }

    #[tokio::test]
    async fn it_is_over_when_nothing_kept_the_machine() {
        let deadline = Duration::from_millis(300);
        let begin = Instant::now();
        over(deadline, Duration::default).await;
        assert!(begin.elapsed() >= deadline);
        // Half of the time it waits.
        let begin = Instant::now();
        over(deadline, || begin.elapsed() / 2).await;
        assert!(begin.elapsed() >= deadline * 2);
    }
}
