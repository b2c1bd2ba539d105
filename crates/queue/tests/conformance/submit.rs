use latent_queue::{Error, Idempotency, JobFilter, Limits, NewJob, State, Ulid};

use crate::common::{START, job, on_each};

fn keyed(user: &str, key: &str, body: &str) -> NewJob {
    NewJob {
        idempotency: Some(Idempotency {
            key: key.to_owned(),
            body: body.as_bytes().to_vec(),
        }),
        ..job(user, 1)
    }
}

#[test]
fn what_is_submitted_is_read_again() {
    on_each(Limits::default(), |bench| async move {
        let new = NewJob {
            model: Some("small".to_owned()),
            priority: -3,
            ..job("ann", 2)
        };
        let job = bench.submit(new).await;
        assert_eq!(job.state, State::Queued);
        assert_eq!((job.created_ms, job.priority), (START, -3));
        assert_eq!((job.pictures_total, job.pictures_done), (2, 0));
        assert_eq!(job.id.timestamp_ms(), START as u64);
        assert_ne!(job.picture(0), job.picture(1));
        let read = bench.queue.job(job.id, Some("ann")).await.expect("read");
        assert_eq!(read.as_ref(), Some(&job));
        assert_eq!(
            bench.queue.job(job.id, Some("bob")).await.expect("read"),
            None
        );
        let unknown = bench.queue.job(Ulid(7), None).await.expect("read");
        assert_eq!(unknown, None);
    });
}

#[test]
fn a_key_makes_one_job_of_the_same_body_for_a_day() {
    on_each(Limits::default(), |bench| async move {
        let first = bench
            .queue
            .submit(keyed("ann", "k", "body"))
            .await
            .expect("accepted");
        assert!(!first.known);
        bench.pass(24 * 3_600_000 - 1);
        let again = bench
            .queue
            .submit(keyed("ann", "k", "body"))
            .await
            .expect("accepted");
        assert!(again.known);
        assert_eq!(again.job.id, first.job.id);
        let other = bench.queue.submit(keyed("ann", "k", "other")).await;
        assert!(matches!(other, Err(Error::KeyReused { key }) if key == "k"));
        // The same key of another user, and another key, are other jobs.
        let bob = bench
            .queue
            .submit(keyed("bob", "k", "body"))
            .await
            .expect("accepted");
        assert!(!bob.known);
        bench.pass(1);
        let later = bench
            .queue
            .submit(keyed("ann", "k", "other"))
            .await
            .expect("accepted");
        assert!(!later.known);
        assert_ne!(later.job.id, first.job.id);
    });
}

#[test]
fn a_known_key_is_answered_when_the_queue_and_the_disk_are_full() {
    let limits = Limits {
        waiting_user: 1,
        ..Limits::default()
    };
    on_each(limits, |bench| async move {
        let first = bench.submit(keyed("ann", "k", "body")).await;
        bench.free.store(0, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(bench.submit(keyed("ann", "k", "body")).await.id, first.id);
    });
}

#[test]
fn a_user_and_the_queue_can_be_full() {
    let limits = Limits {
        waiting_user: 2,
        waiting: 3,
        ..Limits::default()
    };
    on_each(limits, |bench| async move {
        // One job takes 8 s, which is what is said to those who come too early.
        bench.submit(job("ann", 0)).await;
        let claimed = bench.claim().await;
        bench.pass(8_000);
        bench
            .queue
            .finish(&claimed.lease, None)
            .await
            .expect("done");

        bench.submit(job("ann", 0)).await;
        bench.submit(job("ann", 0)).await;
        let full = bench.queue.submit(job("ann", 0)).await;
        let Err(Error::UserFull {
            waiting,
            most,
            retry_after_ms,
        }) = full
        else {
            panic!("{full:?}");
        };
        assert_eq!((waiting, most, retry_after_ms), (2, 2, 8_000));
        bench.submit(job("bob", 0)).await;
        let full = bench.queue.submit(job("cleo", 0)).await;
        assert!(matches!(
            full,
            Err(Error::QueueFull {
                waiting: 3,
                most: 3,
                retry_after_ms: 8_000
            })
        ));
        // A running job does not wait.
        bench.claim().await;
        bench.submit(job("cleo", 0)).await;
    });
}

#[test]
fn a_job_that_the_disk_does_not_hold_is_refused() {
    on_each(Limits::default(), |bench| async move {
        let reserve = 256 << 20;
        bench
            .free
            .store(reserve - 1, std::sync::atomic::Ordering::SeqCst);
        let refused = bench.queue.submit(job("ann", 1)).await;
        assert!(matches!(refused, Err(Error::NoRoom { needed, .. }) if needed == reserve));
        bench
            .free
            .store(reserve, std::sync::atomic::Ordering::SeqCst);
        bench.submit(job("ann", 1)).await;
        let large = NewJob {
            bytes_needed: reserve + 1,
            ..job("ann", 1)
        };
        let refused = bench.queue.submit(large).await;
        assert!(matches!(refused, Err(Error::NoRoom { free, .. }) if free == reserve));
    });
}

#[test]
fn fields_out_of_range_are_named() {
    on_each(Limits::default(), |bench| async move {
        for (new, named) in [
            (job("", 1), "user"),
            (job(&"u".repeat(201), 1), "user"),
            (keyed("ann", "", "body"), "idempotency key"),
            (keyed("ann", &"k".repeat(256), "body"), "idempotency key"),
        ] {
            let refused = bench.queue.submit(new).await;
            assert!(matches!(refused, Err(Error::Argument { field, .. }) if field == named));
        }
    });
}

#[test]
fn jobs_are_listed_by_state_and_owner_page_by_page() {
    on_each(Limits::default(), |bench| async move {
        let mut ids = Vec::new();
        for n in 0..7 {
            bench.pass(1);
            let user = if n % 2 == 0 { "ann" } else { "bob" };
            ids.push(bench.submit(job(user, 0)).await.id);
        }
        let done = bench.work(None).await.expect("a job").id;
        let filter = JobFilter {
            states: vec![State::Queued, State::Running],
            ..JobFilter::default()
        };
        let (mut read, mut before) = (Vec::new(), None);
        loop {
            let page = bench.queue.jobs(&filter, before, 4).await.expect("a page");
            read.extend(page.items.iter().map(|job| job.id));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        ids.reverse();
        ids.retain(|id| *id != done);
        assert_eq!(read, ids);
        let filter = JobFilter {
            user: Some("bob".to_owned()),
            kind: Some("draw".to_owned()),
            ..JobFilter::default()
        };
        let page = bench.queue.jobs(&filter, None, 50).await.expect("a page");
        assert!(page.items.len() == 3 && page.items.iter().all(|job| job.user == "bob"));
        let counts = bench.queue.counts(None).await.expect("counts");
        assert_eq!((counts.queued, counts.done), (6, 1));
        let counts = bench.queue.counts(Some("bob")).await.expect("counts");
        assert_eq!((counts.queued, counts.done), (3, 0));
    });
}
