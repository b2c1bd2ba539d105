use std::time::Duration;

use latent_queue::{Cancel, Cancelled, Error, Limits, State, Ulid};

use crate::common::{job, on_each, picture};

#[test]
fn a_job_is_cancelled_in_any_state() {
    on_each(Limits::default(), |bench| async move {
        let queue = &bench.queue;
        let unknown = queue.cancel(Ulid(1), None, Cancel::Drop).await;
        assert!(matches!(unknown, Err(Error::NoJob)));

        let waiting = bench.submit(job("ann", 1)).await.id;
        let foreign = queue.cancel(waiting, Some("bob"), Cancel::Drop).await;
        assert!(matches!(foreign, Err(Error::NoJob)));
        let now = queue
            .cancel(waiting, Some("ann"), Cancel::Drop)
            .await
            .expect("cancelled");
        assert_eq!(now, Cancelled::Now);
        let again = queue
            .cancel(waiting, Some("ann"), Cancel::Keep)
            .await
            .expect("cancelled");
        assert_eq!(again, Cancelled::Ended(State::Cancelled));
        assert!(bench.claim_if(None).await.is_none());

        let running = bench.submit(job("ann", 2)).await.id;
        let claimed = bench.claim().await;
        let unasked = queue.stopped(&claimed.lease).await;
        assert!(matches!(
            unasked,
            Err(Error::WrongState {
                state: State::Running,
                ..
            })
        ));
        let asked = queue
            .cancel(running, None, Cancel::Drop)
            .await
            .expect("asked");
        assert_eq!(asked, Cancelled::Asked);
        queue
            .cancel(running, None, Cancel::Keep)
            .await
            .expect("asked");
        let asked = queue.renew(&claimed.lease).await.expect("renewed");
        assert_eq!(asked.cancel, Some(Cancel::Keep));
        queue
            .commit(&claimed.lease, &picture(0))
            .await
            .expect("kept");
        let job = queue.stopped(&claimed.lease).await.expect("stopped");
        assert_eq!((job.state, job.pictures_done), (State::Cancelled, 1));
        assert_eq!(queue.pictures(running).await.expect("pictures").len(), 1);
    });
}

#[test]
fn a_cancelled_job_whose_worker_dies_is_cancelled() {
    on_each(Limits::default(), |mut bench| async move {
        let id = bench.submit(job("ann", 1)).await.id;
        bench.claim().await;
        bench
            .queue
            .cancel(id, None, Cancel::Drop)
            .await
            .expect("asked");
        bench.crash().await;
        let job = bench
            .queue
            .job(id, None)
            .await
            .expect("read")
            .expect("a job");
        assert_eq!(job.state, State::Cancelled);
        // It can be tried again, and is not to stop then.
        bench.queue.retry(id, None).await.expect("queued");
        let claimed = bench.claim().await;
        assert_eq!(
            bench
                .queue
                .renew(&claimed.lease)
                .await
                .expect("renewed")
                .cancel,
            None
        );
    });
}

#[test]
fn clearing_cancels_what_waits() {
    on_each(Limits::default(), |bench| async move {
        for user in ["ann", "ann", "ann", "bob"] {
            bench.submit(job(user, 0)).await;
        }
        let claimed = bench.claim().await;
        assert_eq!(bench.queue.clear(Some("ann")).await.expect("cleared"), 2);
        let counts = bench.queue.counts(None).await.expect("counts");
        assert_eq!((counts.queued, counts.running, counts.cancelled), (1, 1, 2));
        assert_eq!(bench.queue.clear(None).await.expect("cleared"), 1);
        bench
            .queue
            .finish(&claimed.lease, None)
            .await
            .expect("done");
    });
}

#[test]
fn one_waits_for_the_end_of_a_job() {
    on_each(Limits::default(), |bench| async move {
        assert_eq!(bench.queue.ended(Ulid(1)).await.expect("read"), None);
        let id = bench.submit(job("ann", 1)).await.id;
        let queue = bench.queue.clone();
        let waiting = tokio::spawn(async move { queue.ended(id).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        bench.work(None).await.expect("a job");
        let ended = waiting
            .await
            .expect("no panic")
            .expect("read")
            .expect("a job");
        assert_eq!((ended.id, ended.state), (id, State::Done));
    });
}
