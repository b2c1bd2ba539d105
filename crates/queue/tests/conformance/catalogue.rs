use latent_queue::{Error, Format, Limits, NewPicture, Search, Ulid};

use crate::common::{Bench, job, on_each, picture};

const DAY: i64 = 24 * 3_600_000;

/// Imports pictures a second apart; returns their ids.
async fn import(bench: &Bench, pictures: &[NewPicture]) -> Vec<Ulid> {
    let mut ids = Vec::new();
    for picture in pictures {
        bench.pass(1_000);
        ids.push(
            bench
                .queue
                .import("ann", picture)
                .await
                .expect("imported")
                .id,
        );
    }
    ids
}

async fn found(bench: &Bench, search: &Search) -> Vec<Ulid> {
    let page = bench.queue.search(search, None, 100).await.expect("a page");
    assert_eq!(page.next, None);
    page.items.into_iter().map(|picture| picture.id).collect()
}

fn words(words: &str) -> Search {
    Search {
        words: Some(words.to_owned()),
        ..Search::default()
    }
}

#[test]
fn a_picture_is_read_as_it_was_committed() {
    on_each(Limits::default(), |bench| async move {
        let submitted = bench.submit(job("ann", 1)).await;
        bench.work(None).await.expect("a job");
        let id = submitted.picture(0);
        let read = bench
            .queue
            .picture(id, Some("ann"))
            .await
            .expect("read")
            .expect("a picture");
        let new = picture(0);
        assert_eq!((read.id, read.job, read.n), (id, Some(submitted.id), 0));
        assert_eq!((read.width, read.height, read.bytes), (512, 512, 9));
        assert_eq!((read.seed, read.steps), (new.seed, new.steps));
        assert_eq!((&read.prompt, &read.negative), (&new.prompt, &new.negative));
        assert_eq!(
            (&read.infotext, &read.request),
            (&new.infotext, &new.request)
        );
        assert_eq!((&read.model, &read.sampler), (&new.model, &new.sampler));
        assert!(!read.starred && read.tags.is_empty() && read.deleted_ms.is_none());
        assert_eq!(read.sha256.len(), 64);
        assert_eq!(
            bench.queue.picture(id, Some("bob")).await.expect("read"),
            None
        );
        assert_eq!(
            bench.queue.pictures(submitted.id).await.expect("read"),
            [read]
        );
    });
}

#[test]
fn words_are_found_in_prompt_negative_model_and_tags() {
    on_each(Limits::default(), |bench| async move {
        let texts = [
            ("a red cat on the roof", "fog", "small"),
            ("the roof of a red house, cathedral", "", "Large Model"),
            ("“café” at night; it's 100% \\ fine", "cat", "small"),
        ];
        let pictures = texts.map(|(prompt, negative, model)| NewPicture {
            prompt: prompt.to_owned(),
            negative: negative.to_owned(),
            model: Some(model.to_owned()),
            ..picture(0)
        });
        let ids = import(&bench, &pictures).await;
        bench
            .queue
            .tag(ids[1], None, &["best of".to_owned()])
            .await
            .expect("tagged");
        for (query, hits) in [
            ("red", &[1, 0][..]),
            ("RED roof", &[1, 0]),
            ("\"red cat\"", &[0]),
            ("\"cat red\"", &[]),
            ("cat", &[2, 0]),
            ("cat*", &[2, 1, 0]),
            ("cat -fog", &[2]),
            ("roof -cat -night", &[1]),
            ("large", &[1]),
            ("best", &[1]),
            ("café night", &[2]),
            ("it's", &[2]),
            ("NOT", &[]),
            ("100% \\", &[2]),
        ] {
            let expected: Vec<_> = hits.iter().map(|&n| ids[n]).collect();
            assert_eq!(found(&bench, &words(query)).await, expected, "{query}");
        }
        for none in ["", "  ", "-cat", "\" \" * ()"] {
            let refused = bench.queue.search(&words(none), None, 10).await;
            assert!(
                matches!(refused, Err(Error::Argument { field: "words", .. })),
                "{none}"
            );
        }
    });
}

#[test]
fn every_field_narrows_with_and_without_words() {
    on_each(Limits::default(), |bench| async move {
        let other = NewPicture {
            width: 768,
            seed: Some(7),
            sampler: Some("DPM++ 2M".to_owned()),
            steps: Some(30),
            model: Some("large".to_owned()),
            ..picture(0)
        };
        let ids = import(&bench, &[picture(0), other, picture(1)]).await;
        bench
            .queue
            .star(ids[1], Some("ann"), true)
            .await
            .expect("starred");
        bench
            .queue
            .tag(ids[1], Some("ann"), &["x".to_owned()])
            .await
            .expect("tagged");
        let at = bench
            .queue
            .picture(ids[1], None)
            .await
            .expect("read")
            .expect("a picture")
            .created_ms;
        let empty = Search::default;
        let text = |text: &str| Some(text.to_owned());
        let searches = [
            Search {
                model: text("large"),
                ..empty()
            },
            Search {
                sampler: text("DPM++ 2M"),
                ..empty()
            },
            Search {
                seed: Some(7),
                ..empty()
            },
            Search {
                size: Some((768, 512)),
                ..empty()
            },
            Search {
                steps: Some(30),
                ..empty()
            },
            Search {
                from_ms: Some(at),
                to_ms: Some(at + 1),
                ..empty()
            },
            Search {
                starred: Some(true),
                ..empty()
            },
            Search {
                tag: text("x"),
                ..empty()
            },
        ];
        for search in searches {
            for (user, query) in [
                (None, None),
                (Some("ann"), None),
                (Some("ann"), Some("red cat")),
            ] {
                let search = Search {
                    user: user.map(str::to_owned),
                    words: query.map(str::to_owned),
                    ..search.clone()
                };
                assert_eq!(found(&bench, &search).await, [ids[1]], "{search:?}");
                let foreign = Search {
                    user: text("bob"),
                    ..search
                };
                assert!(found(&bench, &foreign).await.is_empty());
            }
        }
        let unstarred = Search {
            starred: Some(false),
            ..empty()
        };
        assert_eq!(found(&bench, &unstarred).await, [ids[2], ids[0]]);
        let seed = Search {
            seed: Some(u64::MAX),
            ..empty()
        };
        assert_eq!(found(&bench, &seed).await, [ids[0]]);
    });
}

#[test]
fn pages_neither_repeat_nor_skip_while_pictures_come_and_go() {
    on_each(Limits::default(), |bench| async move {
        let ids = import(&bench, &[(); 9].map(|()| picture(0))).await;
        for search in [Search::default(), words("red")] {
            let first = bench.queue.search(&search, None, 4).await.expect("a page");
            let new = import(&bench, &[picture(0)]).await[0];
            let second = bench
                .queue
                .search(&search, first.next, 4)
                .await
                .expect("a page");
            let third = bench
                .queue
                .search(&search, second.next, 4)
                .await
                .expect("a page");
            assert_eq!(third.next, None);
            let read: Vec<_> = [first.items, second.items, third.items].concat();
            let mut read: Vec<_> = read.into_iter().map(|picture| picture.id).collect();
            read.reverse();
            assert_eq!(read, ids);
            bench.queue.purge(new, None).await.expect("purged");
        }
    });
}

#[test]
fn the_bin_gives_back_for_thirty_days() {
    on_each(Limits::default(), |bench| async move {
        let queue = &bench.queue;
        let ids = import(&bench, &[picture(0), picture(0)]).await;
        queue
            .store()
            .put_thumb(ids[0], b"small".to_vec())
            .await
            .expect("kept");
        queue.delete(ids[0], Some("ann")).await.expect("deleted");
        assert!(matches!(
            queue.delete(ids[0], Some("bob")).await,
            Err(Error::NoPicture)
        ));
        for search in [Search::default(), words("cat")] {
            assert_eq!(found(&bench, &search).await, [ids[1]]);
            let bin = Search {
                bin: true,
                ..search
            };
            assert_eq!(found(&bench, &bin).await, [ids[0]]);
        }
        queue.restore(ids[0], Some("ann")).await.expect("restored");
        assert_eq!(found(&bench, &words("cat")).await, [ids[1], ids[0]]);
        queue.delete(ids[0], Some("ann")).await.expect("deleted");
        bench.pass(30 * DAY);
        assert_eq!(queue.sweep().await.expect("swept").pictures, 0);
        assert!(queue.store().picture(ids[0], Format::Png).await.is_ok());
        bench.pass(1);
        assert_eq!(queue.sweep().await.expect("swept").pictures, 1);
        assert!(matches!(
            queue.restore(ids[0], None).await,
            Err(Error::NoPicture)
        ));
        assert_eq!(queue.store().thumb(ids[0]).await.expect("read"), None);
        assert_eq!(bench.files(), [format!("{}.png", ids[1])]);
        queue.purge(ids[1], None).await.expect("purged");
        assert!(bench.files().is_empty());
        assert!(found(&bench, &words("cat")).await.is_empty());
    });
}

#[test]
fn tags_are_replaced_counted_and_bounded() {
    on_each(Limits::default(), |bench| async move {
        let queue = &bench.queue;
        let ids = import(&bench, &[picture(0), picture(0)]).await;
        let tags = |tags: &[&str]| tags.iter().map(|&tag| tag.to_owned()).collect::<Vec<_>>();
        queue
            .tag(ids[0], None, &tags(&["b", " a ", "b"]))
            .await
            .expect("tagged");
        queue
            .tag(ids[1], None, &tags(&["b", "c"]))
            .await
            .expect("tagged");
        let read = queue
            .picture(ids[0], None)
            .await
            .expect("read")
            .expect("a picture");
        assert_eq!(read.tags, ["a", "b"]);
        queue
            .tag(ids[1], None, &tags(&["b"]))
            .await
            .expect("tagged");
        let counted = queue.tags(Some("ann")).await.expect("tags");
        assert_eq!(counted, [("b".to_owned(), 2), ("a".to_owned(), 1)]);
        assert!(queue.tags(Some("bob")).await.expect("tags").is_empty());
        assert!(found(&bench, &words("c")).await.is_empty());
        let long = "x".repeat(101);
        for bad in [&[""][..], &["a\nb"], &[long.as_str()]] {
            let refused = queue.tag(ids[0], None, &tags(bad)).await;
            assert!(matches!(
                refused,
                Err(Error::Argument { field: "tags", .. })
            ));
        }
    });
}

#[test]
fn a_purged_picture_is_made_again_on_a_retry_and_not_before() {
    on_each(Limits::default(), |bench| async move {
        let submitted = bench.submit(job("ann", 2)).await;
        let claimed = bench.claim().await;
        bench
            .queue
            .commit(&claimed.lease, &picture(0))
            .await
            .expect("committed");
        let live = bench.queue.purge(submitted.picture(0), None).await;
        assert!(matches!(live, Err(Error::WrongState { .. })));
        bench
            .queue
            .fail(&claimed.lease, "x", "y")
            .await
            .expect("failed");
        bench
            .queue
            .purge(submitted.picture(0), None)
            .await
            .expect("purged");
        let job = bench.queue.retry(submitted.id, None).await.expect("queued");
        assert_eq!(job.pictures_done, 0);
        assert_eq!(bench.work(None).await.expect("a job").pictures_done, 2);
    });
}

#[test]
fn pictures_of_a_private_server_go_by_themselves() {
    let limits = Limits {
        picture_ms: Some(600_000),
        ..Limits::default()
    };
    on_each(limits, |bench| async move {
        let ids = import(&bench, &[picture(0), picture(0)]).await;
        bench.pass(599_001);
        assert_eq!(bench.queue.sweep().await.expect("swept").pictures, 1);
        assert_eq!(found(&bench, &Search::default()).await, [ids[1]]);
    });
}
