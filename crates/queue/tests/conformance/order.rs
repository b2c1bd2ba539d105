use latent_queue::{Error, Limits, Move, NewJob, State, Ulid};

use crate::common::{Bench, job, job_of_model, on_each};

/// Claims and finishes everything, each time with the model of the job before, and returns the ids in their order.
async fn drain(bench: &Bench, with_model: bool) -> Vec<Ulid> {
    let (mut ids, mut loaded) = (Vec::new(), None);
    while let Some(job) = bench.work(loaded.as_deref()).await {
        ids.push(job.id);
        loaded = job.model.filter(|_| with_model);
    }
    ids
}

async fn submit(bench: &Bench, jobs: &[NewJob]) -> Vec<Ulid> {
    let mut ids = Vec::new();
    for new in jobs {
        bench.pass(1);
        ids.push(bench.submit(new.clone()).await.id);
    }
    ids
}

fn pick(ids: &[Ulid], order: &[usize]) -> Vec<Ulid> {
    order.iter().map(|&n| ids[n]).collect()
}

async fn shown(bench: &Bench) -> Vec<Ulid> {
    let waiting = bench.queue.waiting(None).await.expect("a list");
    for (n, entry) in waiting.iter().enumerate() {
        assert_eq!(entry.ahead, n as u64);
        let ahead = bench.queue.ahead(entry.job.id).await.expect("a place");
        assert_eq!(ahead, Some(n as u64));
    }
    waiting.into_iter().map(|entry| entry.job.id).collect()
}

#[test]
fn users_take_turns() {
    on_each(Limits::default(), |bench| async move {
        let jobs = ["ann", "ann", "ann", "bob", "bob", "cleo"].map(|user| job(user, 0));
        let ids = submit(&bench, &jobs).await;
        let expected = pick(&ids, &[0, 3, 5, 1, 4, 2]);
        assert_eq!(shown(&bench).await, expected);
        let bobs = bench.queue.waiting(Some("bob")).await.expect("a list");
        assert_eq!(
            bobs.iter().map(|entry| entry.ahead).collect::<Vec<_>>(),
            [1, 4]
        );
        assert_eq!(drain(&bench, false).await, expected);
        // Ann was served last, so that bob is first now.
        let ids = submit(&bench, &[job("ann", 0), job("bob", 0)]).await;
        assert_eq!(shown(&bench).await, pick(&ids, &[1, 0]));
        assert_eq!(drain(&bench, false).await, pick(&ids, &[1, 0]));
    });
}

#[test]
fn higher_priority_is_earlier() {
    on_each(Limits::default(), |bench| async move {
        let jobs =
            [(0, "ann"), (5, "bob"), (-1, "bob"), (5, "ann")].map(|(priority, user)| NewJob {
                priority,
                ..job(user, 0)
            });
        let ids = submit(&bench, &jobs).await;
        let order = pick(&ids, &[1, 3, 0, 2]);
        assert_eq!(shown(&bench).await, order);
        assert_eq!(drain(&bench, false).await, order);
    });
}

#[test]
fn the_loaded_model_is_preferred_for_four_jobs() {
    on_each(Limits::default(), |bench| async move {
        let models = ["a", "b", "a", "a", "a", "a", "a"];
        let ids = submit(&bench, &models.map(|model| job_of_model("ann", model))).await;
        assert_eq!(
            drain(&bench, true).await,
            pick(&ids, &[0, 2, 3, 4, 1, 5, 6])
        );
    });
}

#[test]
fn the_loaded_model_is_preferred_for_a_minute() {
    on_each(Limits::default(), |bench| async move {
        let ids = submit(
            &bench,
            &["a", "b", "a", "a"].map(|model| job_of_model("ann", model)),
        )
        .await;
        let mut order = vec![bench.work(None).await.expect("a job").id];
        bench.pass(59_999);
        order.push(bench.work(Some("a")).await.expect("a job").id);
        bench.pass(1);
        order.push(bench.work(Some("a")).await.expect("a job").id);
        assert_eq!(order, pick(&ids, &[0, 2, 1]));
    });
}

#[test]
fn a_worker_gets_the_kinds_that_it_can_do() {
    on_each(Limits::default(), |bench| async move {
        let train = NewJob {
            kind: "train".to_owned(),
            ..job("ann", 0)
        };
        let ids = submit(&bench, &[train, job("ann", 0)]).await;
        let claimed = bench
            .queue
            .claim("w", &["draw", "upscale"], None)
            .await
            .expect("claimed");
        assert_eq!(claimed.expect("a job").job.id, ids[1]);
        let none = bench
            .queue
            .claim("w", &["draw", "upscale"], None)
            .await
            .expect("claimed");
        assert!(none.is_none());
        assert_eq!(bench.claim().await.job.id, ids[0]);
    });
}

#[test]
fn jobs_can_be_moved() {
    on_each(Limits::default(), |bench| async move {
        let ids = submit(&bench, &[(); 5].map(|()| job("ann", 0))).await;
        let other = bench.submit(job("bob", 0)).await.id;
        let queue = &bench.queue;
        queue
            .move_job(ids[3], Some("ann"), Move::Next)
            .await
            .expect("moved");
        queue
            .move_job(ids[0], None, Move::Last)
            .await
            .expect("moved");
        queue
            .move_job(ids[4], None, Move::Before(ids[2]))
            .await
            .expect("moved");
        let own: Vec<_> = queue.waiting(Some("ann")).await.expect("a list");
        let own: Vec<_> = own.into_iter().map(|entry| entry.job.id).collect();
        assert_eq!(own, pick(&ids, &[3, 1, 4, 2, 0]));
        // Nobody moves another's job, or before another's.
        let moved = queue.move_job(ids[3], Some("bob"), Move::Next).await;
        assert!(matches!(moved, Err(Error::NoJob)));
        let moved = queue
            .move_job(ids[3], Some("ann"), Move::Before(other))
            .await;
        assert!(matches!(moved, Err(Error::NoJob)));
        queue
            .cancel(other, None, latent_queue::Cancel::Drop)
            .await
            .expect("cancelled");
        let moved = queue.move_job(other, None, Move::Next).await;
        assert!(matches!(
            moved,
            Err(Error::WrongState {
                state: State::Cancelled,
                ..
            })
        ));
        assert_eq!(drain(&bench, false).await, own);
    });
}

#[test]
fn next_is_before_the_loaded_model_and_before_higher_priority_of_its_owner() {
    on_each(Limits::default(), |bench| async move {
        let high = NewJob {
            priority: 3,
            ..job_of_model("ann", "a")
        };
        let jobs = [job_of_model("ann", "a"), job_of_model("ann", "b"), high];
        let ids = submit(&bench, &jobs).await;
        bench
            .queue
            .move_job(ids[1], None, Move::Next)
            .await
            .expect("moved");
        let first = bench.claim_if(Some("a")).await.expect("a job");
        assert_eq!(first.job.id, ids[1]);
    });
}

#[test]
fn a_paused_queue_gives_nothing_out_and_says_why_also_after_a_restart() {
    on_each(Limits::default(), |mut bench| async move {
        bench.submit(job("ann", 0)).await;
        bench
            .queue
            .pause("the lights are off")
            .await
            .expect("paused");
        bench.crash().await;
        assert!(bench.claim_if(None).await.is_none());
        let paused = bench
            .queue
            .counts(None)
            .await
            .expect("counts")
            .paused
            .expect("paused");
        assert_eq!(
            (paused.reason.as_str(), paused.disk_full),
            ("the lights are off", false)
        );
        bench.queue.resume().await.expect("resumed");
        assert_eq!(bench.queue.counts(None).await.expect("counts").paused, None);
        bench.claim().await;
    });
}
