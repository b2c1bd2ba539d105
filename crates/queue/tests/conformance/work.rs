use std::sync::atomic::Ordering::SeqCst;

use latent_queue::{Cancel, Error, Format, Limits, NewPicture, State};

use crate::common::{START, job, on_each, picture};

#[test]
fn a_job_is_claimed_drawn_and_finished() {
    on_each(Limits::default(), |bench| async move {
        let submitted = bench.submit(job("ann", 2)).await;
        bench.pass(10);
        let claimed = bench.claim().await;
        assert_eq!(claimed.job.id, submitted.id);
        assert_eq!(claimed.missing, [0, 1]);
        assert_eq!(claimed.job.state, State::Running);
        assert_eq!(claimed.job.attempt, 1);
        assert_eq!(claimed.job.lease_until_ms, Some(START + 10 + 30_000));
        assert!(bench.claim_if(None).await.is_none());

        let early = bench.queue.finish(&claimed.lease, None).await;
        assert!(matches!(
            early,
            Err(Error::Incomplete { done: 0, total: 2 })
        ));
        for n in [0, 1] {
            let committed = bench
                .queue
                .commit(&claimed.lease, &picture(n))
                .await
                .expect("committed");
            assert_eq!(
                (committed.id, committed.known),
                (submitted.picture(n), false)
            );
        }
        let job = bench
            .queue
            .finish(&claimed.lease, Some(r#"{"took":1}"#))
            .await
            .expect("done");
        assert_eq!((job.state, job.pictures_done), (State::Done, 2));
        assert_eq!(
            (job.started_ms, job.finished_ms),
            (Some(START + 10), Some(START + 10))
        );
        assert_eq!(job.result.as_deref(), Some(r#"{"took":1}"#));
        assert_eq!((job.worker, job.lease_until_ms), (None, None));
        let again = bench.queue.finish(&claimed.lease, None).await;
        assert!(matches!(again, Err(Error::LeaseLost)));
        assert_eq!(bench.files().len(), 2);
    });
}

#[test]
fn the_same_picture_twice_is_once() {
    on_each(Limits::default(), |bench| async move {
        bench.submit(job("ann", 2)).await;
        let claimed = bench.claim().await;
        let first = bench
            .queue
            .commit(&claimed.lease, &picture(1))
            .await
            .expect("committed");
        let other = NewPicture {
            bytes: b"other".to_vec(),
            format: Format::WebP,
            ..picture(1)
        };
        let again = bench
            .queue
            .commit(&claimed.lease, &other)
            .await
            .expect("known");
        assert_eq!((again.id, again.known), (first.id, true));
        let job = bench
            .queue
            .job(claimed.job.id, None)
            .await
            .expect("read")
            .expect("a job");
        assert_eq!(job.pictures_done, 1);
        assert_eq!(bench.files(), [format!("{}.png", first.id)]);
        let bytes = bench
            .queue
            .store()
            .picture(first.id, Format::Png)
            .await
            .expect("a file");
        assert_eq!(bytes, b"picture 1");
        let beyond = bench.queue.commit(&claimed.lease, &picture(2)).await;
        assert!(matches!(beyond, Err(Error::Argument { field: "n", .. })));
    });
}

#[test]
fn a_lease_that_ran_out_fences_its_holder_off() {
    on_each(Limits::default(), |bench| async move {
        bench.submit(job("ann", 2)).await;
        let first = bench.claim().await;
        bench
            .queue
            .commit(&first.lease, &picture(0))
            .await
            .expect("committed");
        bench.pass(29_000);
        let asked = bench.queue.renew(&first.lease).await.expect("renewed");
        assert_eq!((asked.until_ms, asked.cancel), (START + 59_000, None));
        bench.pass(30_000);
        assert_eq!(bench.queue.expire().await.expect("looked"), 0);
        bench.pass(1);
        let second = bench.claim().await;
        assert_eq!(
            (second.job.id, second.missing.as_slice()),
            (first.job.id, &[1][..])
        );
        assert!(second.lease.token > first.lease.token);

        let queue = &bench.queue;
        let lease = &first.lease;
        assert!(matches!(queue.renew(lease).await, Err(Error::LeaseLost)));
        assert!(matches!(
            queue.commit(lease, &picture(1)).await,
            Err(Error::LeaseLost)
        ));
        assert!(matches!(
            queue.finish(lease, None).await,
            Err(Error::LeaseLost)
        ));
        assert!(matches!(
            queue.fail(lease, "x", "y").await,
            Err(Error::LeaseLost)
        ));
        assert!(matches!(queue.release(lease).await, Err(Error::LeaseLost)));
        assert!(matches!(queue.stopped(lease).await, Err(Error::LeaseLost)));
        assert_eq!(bench.files().len(), 1);
        queue
            .commit(&second.lease, &picture(1))
            .await
            .expect("committed");
        queue.finish(&second.lease, None).await.expect("done");
    });
}

#[test]
fn tokens_never_come_again_although_attempts_do() {
    on_each(Limits::default(), |bench| async move {
        bench.submit(job("ann", 3)).await;
        let mut tokens = Vec::new();
        for n in [0, 1, 2] {
            let claimed = bench.claim().await;
            bench
                .queue
                .commit(&claimed.lease, &picture(n))
                .await
                .expect("committed");
            tokens.push(claimed.lease.token);
            bench.pass(30_001);
            bench.queue.expire().await.expect("looked");
        }
        assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
        let counts = bench.queue.counts(None).await.expect("counts");
        assert_eq!(counts.done, 1);
    });
}

#[test]
fn a_failure_is_kept_and_can_be_tried_again() {
    on_each(Limits::default(), |bench| async move {
        bench.submit(job("ann", 2)).await;
        let claimed = bench.claim().await;
        bench
            .queue
            .commit(&claimed.lease, &picture(0))
            .await
            .expect("committed");
        let failed = bench
            .queue
            .fail(&claimed.lease, "no-memory", "too large")
            .await
            .expect("failed");
        let failure = failed.failure.expect("a failure");
        assert_eq!(
            (failure.code.as_str(), failure.message.as_str()),
            ("no-memory", "too large")
        );
        let other = bench.queue.retry(failed.id, Some("bob")).await;
        assert!(matches!(other, Err(Error::NoJob)));
        let again = bench
            .queue
            .retry(failed.id, Some("ann"))
            .await
            .expect("queued");
        assert_eq!(
            (again.state, again.attempt, again.pictures_done),
            (State::Queued, 0, 1)
        );
        assert_eq!((again.failure, again.finished_ms), (None, None));
        let twice = bench.queue.retry(failed.id, None).await;
        assert!(matches!(
            twice,
            Err(Error::WrongState {
                state: State::Queued,
                ..
            })
        ));
        assert_eq!(bench.claim().await.missing, [1]);
    });
}

#[test]
fn shutting_down_counts_no_attempt_and_keeps_the_place() {
    on_each(Limits::default(), |bench| async move {
        let first = bench.submit(job("ann", 1)).await;
        bench.submit(job("ann", 1)).await;
        for _ in 0..5 {
            let claimed = bench.claim().await;
            assert_eq!((claimed.job.id, claimed.job.attempt), (first.id, 1));
            let job = bench.queue.release(&claimed.lease).await.expect("released");
            assert_eq!(
                (job.state, job.attempt, job.worker),
                (State::Queued, 0, None)
            );
        }
        let claimed = bench.claim().await;
        bench
            .queue
            .cancel(first.id, None, Cancel::Keep)
            .await
            .expect("asked");
        let job = bench.queue.release(&claimed.lease).await.expect("released");
        assert_eq!(job.state, State::Cancelled);
    });
}

#[test]
fn a_full_disk_pauses_until_the_picture_is_written() {
    on_each(Limits::default(), |bench| async move {
        bench.submit(job("ann", 1)).await;
        bench.submit(job("ann", 1)).await;
        let claimed = bench.claim().await;
        bench.free.store(3, SeqCst);
        for _ in 0..2 {
            let full = bench.queue.commit(&claimed.lease, &picture(0)).await;
            assert!(matches!(full, Err(Error::DiskFull { .. })));
            let paused = bench
                .queue
                .counts(None)
                .await
                .expect("counts")
                .paused
                .expect("paused");
            assert!(
                paused.disk_full && paused.reason.contains("full"),
                "{paused:?}"
            );
            assert_eq!(paused.since_ms, START);
            assert!(bench.claim_if(None).await.is_none());
            bench.queue.renew(&claimed.lease).await.expect("renewed");
        }
        assert!(bench.files().is_empty());
        bench.free.store(u64::MAX, SeqCst);
        bench
            .queue
            .commit(&claimed.lease, &picture(0))
            .await
            .expect("committed");
        assert_eq!(bench.queue.counts(None).await.expect("counts").paused, None);
        bench.claim().await;
    });
}
