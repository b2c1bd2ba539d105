use std::time::Duration;

use latent_queue::{Cancel, Change, Event, Limits, State};

use crate::common::{Bench, job, on_each};

async fn after(bench: &Bench, number: i64, user: Option<&str>) -> Vec<Event> {
    let read = bench
        .queue
        .events(number, user, 1_000)
        .await
        .expect("events");
    assert!(!read.gap);
    read.events
}

#[test]
fn every_change_is_told_once_in_its_order() {
    on_each(Limits::default(), |bench| async move {
        let id = bench.submit(job("ann", 1)).await.id;
        let cancelled = bench.submit(job("bob", 1)).await.id;
        let done = bench.work(None).await.expect("a job");
        let claimed = bench.claim().await;
        bench
            .queue
            .cancel(cancelled, None, Cancel::Drop)
            .await
            .expect("asked");
        bench.queue.stopped(&claimed.lease).await.expect("stopped");
        bench
            .queue
            .star(done.picture(0), None, true)
            .await
            .expect("starred");
        bench.queue.pause("x").await.expect("paused");
        bench.queue.resume().await.expect("resumed");
        bench
            .queue
            .purge(done.picture(0), None)
            .await
            .expect("purged");

        let job = |id, state| Change::Job { id, state };
        let picture = done.picture(0);
        let expected = [
            ("ann", job(id, State::Queued)),
            ("bob", job(cancelled, State::Queued)),
            ("ann", job(id, State::Running)),
            (
                "ann",
                Change::Picture {
                    id: picture,
                    job: Some(id),
                },
            ),
            ("ann", job(id, State::Done)),
            ("bob", job(cancelled, State::Running)),
            (
                "bob",
                Change::CancelAsked {
                    id: cancelled,
                    cancel: Cancel::Drop,
                },
            ),
            ("bob", job(cancelled, State::Cancelled)),
            ("ann", Change::PictureChanged { id: picture }),
            ("", Change::Paused { paused: true }),
            ("", Change::Paused { paused: false }),
            ("ann", Change::PictureGone { id: picture }),
        ];
        let events = after(&bench, 0, None).await;
        let told: Vec<_> = events
            .iter()
            .map(|event| (event.user.as_str(), event.change.clone()))
            .collect();
        assert_eq!(told, expected);
        let numbers: Vec<_> = events.iter().map(|event| event.number).collect();
        assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
        // One goes on where one stopped, and sees what is one's own or concerns all.
        assert_eq!(after(&bench, 5, None).await, events[5..]);
        let bobs = after(&bench, 2, Some("bob")).await;
        assert_eq!(
            bobs.iter().map(|event| event.number).collect::<Vec<_>>(),
            [6, 7, 8, 10, 11]
        );
    });
}

#[test]
fn events_survive_a_restart_and_too_old_ones_are_a_gap() {
    let limits = Limits {
        events: 10,
        ..Limits::default()
    };
    on_each(limits, |mut bench| async move {
        for _ in 0..15 {
            bench.submit(job("ann", 0)).await;
        }
        bench.crash().await;
        let read = bench.queue.events(5, None, 1_000).await.expect("events");
        assert_eq!((read.gap, read.newest), (false, 15));
        assert_eq!(read.events.first().expect("an event").number, 6);
        assert!(
            bench
                .queue
                .events(4, None, 1_000)
                .await
                .expect("events")
                .gap
        );
        assert!(
            bench
                .queue
                .events(99, None, 1_000)
                .await
                .expect("events")
                .gap
        );
        // Who comes for the first time misses nothing.
        let first = bench.queue.events(0, None, 3).await.expect("events");
        assert_eq!((first.gap, first.events.len()), (false, 3));
        assert_eq!(*bench.queue.changed().borrow(), 15);
    });
}

#[test]
fn listeners_are_woken() {
    on_each(Limits::default(), |bench| async move {
        let mut changed = bench.queue.changed();
        changed.mark_unchanged();
        bench.submit(job("ann", 0)).await;
        let woken = tokio::time::timeout(Duration::from_secs(5), changed.changed()).await;
        woken.expect("in time").expect("open");
        assert_eq!(*changed.borrow(), 1);
    });
}
