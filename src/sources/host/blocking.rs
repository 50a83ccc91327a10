//! Asks the kernel questions that may never be answered (statvfs or stat on a dead mount), each at
//! most once at a time, off the runtime and within a limit.
//!
//! The threads are keepwell's own and detached, never the runtime's pool: a thread that hangs in
//! the kernel takes nobody else's place and does not hold up the end of the process. What is asked
//! lives with the caller.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::io;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time;

/// Stack of a thread: a few paths and one directory listing at a time.
const STACK: usize = 128 * 1024;

/// Unanswered questions beyond which no new one is asked: a server that is gone while its mounts
/// come and go must not fill the host with threads.
const MOST_UNANSWERED: usize = 64;

/// On which thread a question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::sources) enum Lane {
    /// With the others, one after another on one lasting thread: what is always quick.
    Shared,
    /// On a thread of its own: what depends on a network or on another program.
    Own,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sources) enum Reply<A> {
    /// The answer; also one that came too late for an earlier round.
    Answer(A),
    /// No answer within the limit, or none yet to a question of an earlier round.
    Hangs,
    /// It could not be asked, and why.
    NotAsked(String),
}

/// Asks questions `Q`, answered by one function to `A`.
///
/// A question that hung once is asked on a thread of its own from then on, so that it delays the
/// others only that one time.
pub(in crate::sources) struct Blocking<Q, A> {
    /// Name of the threads; the kernel shows 15 bytes of it.
    name: &'static str,
    limit: Duration,
    answers: Arc<Answers<Q, A>>,
    worker: Option<mpsc::Sender<Arc<Batch<Q>>>>,
    batch: Option<Arc<Batch<Q>>>,
    unanswered: HashSet<Q>,
    apart: HashSet<Q>,
}

struct Answers<Q, A> {
    work: Box<dyn Fn(&Q) -> A + Send + Sync>,
    done: Mutex<Vec<(Q, A)>>,
    more: Notify,
}

/// Questions for the shared thread, and how far it is.
struct Batch<Q> {
    questions: Vec<Q>,
    /// The next one to ask; `usize::MAX` when the rest has been taken away.
    next: Mutex<usize>,
}

impl<Q, A> Blocking<Q, A>
where
    Q: Clone + Eq + Hash + Send + Sync + 'static,
    A: Send + 'static,
{
    /// Nothing is started before the first question. `work` runs on the threads.
    pub(in crate::sources) fn new(
        name: &'static str,
        limit: Duration,
        work: impl Fn(&Q) -> A + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            limit,
            answers: Arc::new(Answers {
                work: Box::new(work),
                done: Mutex::new(Vec::new()),
                more: Notify::new(),
            }),
            worker: None,
            batch: None,
            unanswered: HashSet::new(),
            apart: HashSet::new(),
        }
    }

    /// Asks all `questions` (no two alike) and returns their replies in the same order, within the
    /// limit; within twice the limit the first time that one on the shared thread hangs.
    ///
    /// Dropping the future loses nothing: what was asked counts as asked in the next call.
    pub(in crate::sources) async fn ask(&mut self, questions: &[(Q, Lane)]) -> Vec<Reply<A>> {
        // A call that was dropped half-way may have left a batch behind.
        self.take_away();
        let mut got = HashMap::new();
        self.collect(&mut got);
        let mut refused = HashMap::new();
        let mut asked = HashSet::new();
        let mut shared = Vec::new();
        for (question, lane) in questions {
            if got.contains_key(question) || self.unanswered.contains(question) {
                continue;
            }
            if self.unanswered.len() >= MOST_UNANSWERED {
                let why = format!("not asked: {MOST_UNANSWERED} earlier calls have not returned");
                refused.insert(question.clone(), why);
            } else if *lane == Lane::Shared && !self.apart.contains(question) {
                shared.push(question.clone());
                asked.insert(question.clone());
            } else {
                match self.ask_alone(question.clone()) {
                    Ok(()) => drop(asked.insert(question.clone())),
                    Err(e) => drop(refused.insert(question.clone(), no_thread(&e))),
                }
            }
        }
        if !shared.is_empty() {
            self.unanswered.extend(shared.iter().cloned());
            if let Err(e) = self.ask_shared(shared.clone()) {
                for question in shared {
                    self.unanswered.remove(&question);
                    asked.remove(&question);
                    refused.insert(question, no_thread(&e));
                }
            }
        }
        if !self.wait(&asked, &mut got).await {
            let rest = self.take_away();
            for question in &rest {
                if let Err(e) = self.ask_alone(question.clone()) {
                    refused.insert(question.clone(), no_thread(&e));
                }
            }
            if !rest.is_empty() {
                self.wait(&rest.into_iter().collect(), &mut got).await;
            }
        }
        self.batch = None;
        let reply = |(question, _): &(Q, Lane)| match got.remove(question) {
            Some(answer) => Reply::Answer(answer),
            None => refused.remove(question).map_or(Reply::Hangs, Reply::NotAsked),
        };
        questions.iter().map(reply).collect()
    }

    /// Forgets which questions once hung, but for those that are still asked.
    pub(in crate::sources) fn forget_all_but(&mut self, still: impl Fn(&Q) -> bool) {
        self.apart.retain(still);
    }

    /// Waits until all of `asked` are answered; false at the limit.
    async fn wait(&mut self, asked: &HashSet<Q>, got: &mut HashMap<Q, A>) -> bool {
        let answers = Arc::clone(&self.answers);
        let limit = time::sleep(self.limit);
        tokio::pin!(limit);
        loop {
            self.collect(got);
            if self.unanswered.is_disjoint(asked) {
                return true;
            }
            tokio::select! {
                () = answers.more.notified() => {}
                () = &mut limit => {
                    self.collect(got);
                    return self.unanswered.is_disjoint(asked);
                }
            }
        }
    }

    /// Takes what has been answered.
    fn collect(&mut self, got: &mut HashMap<Q, A>) {
        for (question, answer) in lock(&self.answers.done).drain(..) {
            self.unanswered.remove(&question);
            got.insert(question, answer);
        }
    }

    /// Takes the questions that the shared thread has not begun with away from it, and leaves it to
    /// the one that it hangs in, if any; it ends when that returns. Gives what was taken away.
    fn take_away(&mut self) -> Vec<Q> {
        let Some(batch) = self.batch.take() else { return Vec::new() };
        let mut next = lock(&batch.next);
        if *next >= batch.questions.len()
            && batch.questions.iter().all(|q| !self.unanswered.contains(q))
        {
            return Vec::new();
        }
        let begun = (*next).min(batch.questions.len());
        *next = usize::MAX;
        self.worker = None;
        if let Some(last) = begun.checked_sub(1) {
            self.apart.insert(batch.questions[last].clone());
        }
        let rest = batch.questions[begun..].to_vec();
        for question in &rest {
            self.unanswered.remove(question);
        }
        rest
    }

    fn ask_alone(&mut self, question: Q) -> io::Result<()> {
        let answers = Arc::clone(&self.answers);
        let asked = question.clone();
        self.thread(move || {
            answers.answer(question);
            answers.more.notify_one();
        })?;
        self.unanswered.insert(asked);
        Ok(())
    }

    fn ask_shared(&mut self, questions: Vec<Q>) -> io::Result<()> {
        let batch = Arc::new(Batch { questions, next: Mutex::new(0) });
        self.batch = Some(Arc::clone(&batch));
        let batch = match &self.worker {
            Some(worker) => match worker.send(batch) {
                Ok(()) => return Ok(()),
                // The thread is gone (it panicked): start another.
                Err(mpsc::SendError(batch)) => batch,
            },
            None => batch,
        };
        let (to_worker, batches) = mpsc::channel::<Arc<Batch<Q>>>();
        let answers = Arc::clone(&self.answers);
        self.thread(move || {
            while let Ok(batch) = batches.recv() {
                while let Some(question) = batch.begin_next() {
                    answers.answer(question);
                }
                drop(batch);
                answers.more.notify_one();
            }
        })?;
        // The thread has just begun to receive.
        let _ = to_worker.send(batch);
        self.worker = Some(to_worker);
        Ok(())
    }

    fn thread(&self, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        std::thread::Builder::new()
            .name(self.name.to_owned())
            .stack_size(STACK)
            .spawn(body)
            .map(drop)
    }
}

impl<Q, A> Answers<Q, A> {
    fn answer(&self, question: Q) {
        let answer = (self.work)(&question);
        lock(&self.done).push((question, answer));
    }
}

impl<Q: Clone> Batch<Q> {
    fn begin_next(&self) -> Option<Q> {
        let mut next = lock(&self.next);
        let question = self.questions.get(*next)?.clone();
        *next += 1;
        Some(question)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is whole between any two statements: a panic elsewhere spoils nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_thread(e: &io::Error) -> String {
    format!("not asked: no thread could be started: {e}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Condvar;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A gate that named questions wait at, and a count of the calls made for each.
    #[derive(Default)]
    struct Gate {
        closed: Mutex<HashSet<&'static str>>,
        opened: Condvar,
        calls: Mutex<HashMap<&'static str, usize>>,
        inside: AtomicUsize,
    }

    impl Gate {
        fn closed_for(names: &[&'static str]) -> Arc<Self> {
            let gate = Self::default();
            lock(&gate.closed).extend(names);
            Arc::new(gate)
        }

        fn pass(&self, name: &'static str) -> usize {
            *lock(&self.calls).entry(name).or_default() += 1;
            self.inside.fetch_add(1, Ordering::SeqCst);
            let mut closed = lock(&self.closed);
            while closed.contains(name) {
                closed = self.opened.wait(closed).unwrap();
            }
            self.inside.fetch_sub(1, Ordering::SeqCst);
            name.len()
        }

        fn open(&self) {
            lock(&self.closed).clear();
            self.opened.notify_all();
        }

        fn calls(&self, name: &'static str) -> usize {
            lock(&self.calls).get(name).copied().unwrap_or(0)
        }
    }

    fn asker(gate: &Arc<Gate>, limit: Duration) -> Blocking<&'static str, usize> {
        let gate = Arc::clone(gate);
        Blocking::new("kw-test", limit, move |name: &&'static str| gate.pass(name))
    }

    const SOON: Duration = Duration::from_secs(2);
    const LONG: Duration = Duration::from_secs(120);

    async fn until(what: impl Fn() -> bool) {
        let wait = async {
            while !what() {
                time::sleep(Duration::from_millis(2)).await;
            }
        };
        time::timeout(LONG, wait).await.expect("the condition was not met in time");
    }

    #[tokio::test]
    async fn replies_come_in_the_order_of_the_questions() {
        let gate = Gate::closed_for(&[]);
        let mut asker = asker(&gate, LONG);
        let asked = [("a", Lane::Shared), ("bbb", Lane::Own), ("cc", Lane::Shared)];
        for round in 1..=3 {
            let replies = asker.ask(&asked).await;
            assert_eq!(replies, [Reply::Answer(1), Reply::Answer(3), Reply::Answer(2)]);
            assert_eq!(gate.calls("cc"), round);
        }
    }

    #[tokio::test]
    async fn one_that_hangs_is_asked_once_and_its_late_answer_is_used() {
        let gate = Gate::closed_for(&["dead"]);
        let mut asker = asker(&gate, SOON);
        let asked = [("dead", Lane::Own), ("well", Lane::Shared)];
        for _ in 0..3 {
            assert_eq!(asker.ask(&asked).await, [Reply::Hangs, Reply::Answer(4)]);
        }
        assert_eq!((gate.calls("dead"), gate.calls("well")), (1, 3));

        gate.open();
        until(|| !lock(&asker.answers.done).is_empty()).await;
        assert_eq!(asker.ask(&asked).await, [Reply::Answer(4), Reply::Answer(4)]);
        assert_eq!(gate.calls("dead"), 1, "the late answer was used, not asked for again");
        asker.limit = LONG;
        assert_eq!(asker.ask(&asked).await, [Reply::Answer(4), Reply::Answer(4)]);
        assert_eq!(gate.calls("dead"), 2);
    }

    #[tokio::test]
    async fn one_that_hangs_on_the_shared_thread_delays_the_others_once() {
        let gate = Gate::closed_for(&["dead"]);
        let mut asker = asker(&gate, SOON);
        let asked = [("a", Lane::Shared), ("dead", Lane::Shared), ("ccc", Lane::Shared)];
        let expected = [Reply::Answer(1), Reply::Hangs, Reply::Answer(3)];
        assert_eq!(asker.ask(&asked).await, expected);
        asker.limit = LONG;
        let again = time::timeout(LONG / 2, asker.ask(&asked)).await;
        assert_eq!(again.expect("nobody waits for the one that hangs"), expected);
        assert_eq!((gate.calls("a"), gate.calls("dead"), gate.calls("ccc")), (2, 1, 2));

        gate.open();
        until(|| gate.inside.load(Ordering::SeqCst) == 0).await;
        until(|| !lock(&asker.answers.done).is_empty()).await;
        for _ in 0..2 {
            let well = [Reply::Answer(1), Reply::Answer(4), Reply::Answer(3)];
            assert_eq!(asker.ask(&asked).await, well);
        }
        assert_eq!(gate.calls("dead"), 2);
    }

    #[tokio::test]
    async fn a_dropped_call_leaves_nothing_behind() {
        let gate = Gate::closed_for(&["dead"]);
        let mut asker = asker(&gate, SOON);
        let asked = [("dead", Lane::Shared), ("well", Lane::Shared)];
        {
            let call = asker.ask(&asked);
            tokio::pin!(call);
            tokio::select! {
                _ = &mut call => panic!("it cannot be done yet"),
                () = until(|| gate.calls("dead") == 1) => {}
            }
        }
        asker.limit = LONG;
        assert_eq!(asker.ask(&asked).await, [Reply::Hangs, Reply::Answer(4)]);
        assert_eq!(gate.calls("dead"), 1);
        gate.open();
    }

    #[tokio::test]
    async fn there_is_a_bound_on_threads() {
        let gate = Gate::closed_for(&["dead"]);
        let answer = Arc::clone(&gate);
        let mut asker = Blocking::new("kw-test", SOON, move |_: &usize| answer.pass("dead"));
        let asked: Vec<_> = (0..MOST_UNANSWERED + 2).map(|i| (i, Lane::Own)).collect();
        let replies = asker.ask(&asked).await;
        assert_eq!(replies[MOST_UNANSWERED - 1], Reply::Hangs);
        let why = "not asked: 64 earlier calls have not returned".to_owned();
        assert_eq!(replies[MOST_UNANSWERED], Reply::NotAsked(why));
        gate.open();
    }
}
