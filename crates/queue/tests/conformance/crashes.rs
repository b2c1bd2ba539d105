use latent_queue::{Limits, NewPicture, State};

use crate::common::{Bench, job, on_each, picture};

async fn state(bench: &Bench) -> State {
    let jobs = bench
        .queue
        .jobs(&Default::default(), None, 1)
        .await
        .expect("a page");
    jobs.items[0].state
}

#[test]
fn a_running_job_goes_on_at_its_first_missing_picture() {
    on_each(Limits::default(), |mut bench| async move {
        let id = bench.submit(job("ann", 3)).await.id;
        let later = bench.submit(job("ann", 0)).await.id;
        let claimed = bench.claim().await;
        bench
            .queue
            .commit(&claimed.lease, &picture(0))
            .await
            .expect("committed");
        bench.crash().await;
        let claimed = bench.claim().await;
        assert_eq!(
            (claimed.job.id, claimed.missing.as_slice()),
            (id, &[1, 2][..])
        );
        assert_ne!(claimed.job.id, later);
    });
}

#[test]
fn the_third_crash_within_one_picture_fails_the_job() {
    on_each(Limits::default(), |mut bench| async move {
        bench.submit(job("ann", 2)).await;
        for _ in 0..2 {
            bench.claim().await;
            bench.crash().await;
            assert_eq!(state(&bench).await, State::Queued);
        }
        // A picture makes the count start anew.
        let claimed = bench.claim().await;
        bench
            .queue
            .commit(&claimed.lease, &picture(0))
            .await
            .expect("committed");
        for _ in 0..2 {
            bench.crash().await;
            assert_eq!(state(&bench).await, State::Queued);
            bench.claim().await;
        }
        bench.crash().await;
        let jobs = bench
            .queue
            .jobs(&Default::default(), None, 1)
            .await
            .expect("a page");
        let job = &jobs.items[0];
        let failure = job.failure.as_ref().expect("a failure");
        assert_eq!(
            (job.state, failure.code.as_str()),
            (State::Failed, "crashed")
        );
        assert!(failure.message.contains("picture 2 of 2"), "{failure:?}");
        // A user may try it again all the same.
        bench.queue.retry(job.id, None).await.expect("queued");
        assert_eq!(bench.claim().await.missing, [1]);
    });
}

#[test]
fn a_job_without_pictures_says_itself_that_it_came_further() {
    on_each(Limits::default(), |mut bench| async move {
        bench.submit(job("ann", 0)).await;
        for _ in 0..7 {
            let claimed = bench.claim().await;
            bench.queue.advanced(&claimed.lease).await.expect("marked");
            bench.crash().await;
            assert_eq!(state(&bench).await, State::Queued);
        }
    });
}

#[test]
fn a_job_that_only_had_to_be_finished_is_done() {
    on_each(Limits::default(), |mut bench| async move {
        bench.submit(job("ann", 1)).await;
        let claimed = bench.claim().await;
        bench
            .queue
            .commit(&claimed.lease, &picture(0))
            .await
            .expect("committed");
        bench.crash().await;
        assert_eq!(state(&bench).await, State::Done);
    });
}

#[test]
fn files_without_rows_and_half_written_ones_are_removed() {
    on_each(Limits::default(), |mut bench| async move {
        let submitted = bench.submit(job("ann", 2)).await;
        let claimed = bench.claim().await;
        bench
            .queue
            .commit(&claimed.lease, &picture(0))
            .await
            .expect("committed");
        // As if the process had died between the file and its row, and within another file.
        let store = bench.folder.path().join("store");
        let kept = bench.files()[0].clone();
        let shard = store.join("pictures").join(&kept[10..12]);
        std::fs::write(shard.join(format!("{}.png", submitted.picture(1))), "x").expect("written");
        std::fs::write(store.join("parts/half"), "x").expect("written");
        bench.crash().await;
        assert_eq!(bench.files(), [kept]);
        assert_eq!(
            std::fs::read_dir(store.join("parts"))
                .expect("a folder")
                .count(),
            0
        );
    });
}

#[test]
fn sweeping_removes_what_no_row_names_and_nothing_else() {
    on_each(Limits::default(), |bench| async move {
        let done = bench.submit(job("ann", 1)).await;
        bench.work(None).await.expect("a job");
        let live = bench.submit(job("ann", 1)).await;
        bench.claim().await;
        let pictures = bench.folder.path().join("store/pictures");
        for id in [done.picture(7), live.picture(0)] {
            let shard = pictures.join(&id.to_string()[10..12]);
            std::fs::create_dir_all(&shard).expect("a folder");
            std::fs::write(shard.join(format!("{id}.png")), "x").expect("written");
        }
        let swept = bench.queue.sweep().await.expect("swept");
        assert_eq!((swept.files, swept.pictures, swept.jobs), (1, 0, 0));
        let mut expected = [done.picture(0), live.picture(0)].map(|id| format!("{id}.png"));
        expected.sort();
        assert_eq!(bench.files(), expected);
    });
}

#[test]
fn another_process_takes_over_when_a_lease_runs_out() {
    on_each(Limits::default(), |bench| async move {
        bench.submit(job("ann", 1)).await;
        let first = bench.claim().await;
        let other = bench.again().await;
        assert!(other.claim("v", &[], None).await.expect("asked").is_none());
        bench.pass(30_001);
        let second = other
            .claim("v", &[], None)
            .await
            .expect("asked")
            .expect("a job");
        assert_eq!(
            (second.job.worker.as_deref(), second.job.attempt),
            (Some("v"), 2)
        );
        let late = NewPicture {
            bytes: b"late".to_vec(),
            ..picture(0)
        };
        assert!(bench.queue.commit(&first.lease, &late).await.is_err());
        other
            .commit(&second.lease, &picture(0))
            .await
            .expect("committed");
        other.finish(&second.lease, None).await.expect("done");
        other.close().await;
        assert_eq!(state(&bench).await, State::Done);
    });
}
