//! Threads that do what need not be waited for. What waits is bounded by its cost, and the first error is kept.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};

type Job = Box<dyn FnOnce() -> Result<()> + Send>;

#[derive(Default)]
struct State {
    waiting: VecDeque<(usize, Job)>,
    /// Cost of all that waits or is done right now.
    cost: usize,
    closed: bool,
    failed: bool,
    error: Option<anyhow::Error>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// A job came, or the pool closes.
    work: Condvar,
    /// A job was done.
    room: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let mut state = self.state();
            let (cost, job) = loop {
                if let Some(next) = state.waiting.pop_front() {
                    break next;
                }
                if state.closed {
                    return;
                }
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            let skip = state.failed;
            drop(state);
            let done = Done { shared: self, cost };
            let result = if skip { Ok(()) } else { job() };
            if let Err(error) = result {
                let mut state = self.state();
                if !state.failed {
                    (state.failed, state.error) = (true, Some(error));
                }
            }
            drop(done);
        }
    }
}

/// Gives a job's cost back, also if it panics.
struct Done<'a> {
    shared: &'a Shared,
    cost: usize,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.cost -= self.cost;
        if std::thread::panicking() {
            state.failed = true;
        }
        drop(state);
        self.shared.room.notify_all();
    }
}

/// The threads. Dropped, it does what still waits and ends them.
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    most: usize,
}

impl Pool {
    /// Starts threads; at most `most` cost waits or is done at a time.
    pub(super) fn new(threads: usize, most: usize) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut pool = Self { shared, threads: Vec::new(), most };
        for _ in 0..threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new().name("objects".to_owned()).spawn(move || shared.work());
            pool.threads.push(thread.context("starting a thread that writes objects")?);
        }
        Ok(pool)
    }

    /// Hands a job over, when there is room for it.
    ///
    /// # Errors
    /// When an earlier job failed: that one's error, once.
    pub(super) fn submit(&self, cost: usize, job: Job) -> Result<()> {
        let mut state = self.shared.state();
        while state.cost > 0 && state.cost + cost > self.most && !state.failed {
            state = self.shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        failure(&mut state)?;
        state.cost += cost;
        state.waiting.push_back((cost, job));
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Waits until everything is done.
    ///
    /// # Errors
    /// When a job failed: the first one's error, once.
    pub(super) fn drain(&self) -> Result<()> {
        let mut state = self.shared.state();
        while state.cost > 0 {
            state = self.shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        failure(&mut state)
    }
}

fn failure(state: &mut State) -> Result<()> {
    match state.error.take() {
        Some(error) => Err(error),
        None if state.failed => bail!("an earlier object could not be written"),
        None => Ok(()),
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A panic was told by its message, and drain() failed.
            thread.join().unwrap_or_default();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn all_jobs_are_done_and_never_more_than_there_is_room_for() {
        let pool = Pool::new(3, 10).unwrap();
        let (done, now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), 10);
        for _ in 0..200 {
            let (done, now) = (Arc::clone(&done), Arc::clone(&now));
            pool.submit(
                4,
                Box::new(move || {
                    assert!(now.fetch_add(4, Ordering::SeqCst) + 4 <= most);
                    now.fetch_sub(4, Ordering::SeqCst);
                    done.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                }),
            )
            .unwrap();
        }
        // One that is larger than all room still gets its turn.
        pool.submit(1000, Box::new(|| Ok(()))).unwrap();
        pool.drain().unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 200);
    }

    #[test]
    fn the_first_error_is_told_and_stays() {
        let pool = Pool::new(1, 10).unwrap();
        pool.submit(1, Box::new(|| bail!("no space"))).unwrap();
        assert_eq!(pool.drain().unwrap_err().to_string(), "no space");
        assert_eq!(pool.drain().unwrap_err().to_string(), "an earlier object could not be written");
        assert!(pool.submit(1, Box::new(|| Ok(()))).is_err());
    }
}
