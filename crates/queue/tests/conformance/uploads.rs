use latent_queue::{Error, Limits, NewJob};

use crate::common::{files, job, on_each};

#[test]
fn an_upload_stays_as_long_as_a_job_reads_it() {
    on_each(Limits::default(), |bench| async move {
        const DAY: i64 = 24 * 3_600_000;
        let queue = &bench.queue;
        let read = queue.put_input(b"read".to_vec()).await.expect("kept");
        let unread = queue.put_input(b"unread".to_vec()).await.expect("kept");
        assert_eq!((read.bytes, read.uses), (4, 0));
        let with = NewJob {
            inputs: vec![read.sha256.clone(), read.sha256.clone()],
            ..job("ann", 0)
        };
        bench.submit(with).await;
        let twice = queue.put_input(b"read".to_vec()).await.expect("kept");
        assert_eq!((&twice.sha256, twice.uses), (&read.sha256, 1));
        assert_eq!(queue.input(&read.sha256).await.expect("bytes"), b"read");

        bench.pass(DAY + 1);
        assert_eq!(queue.sweep().await.expect("swept").inputs, 1);
        let gone = queue.input(&unread.sha256).await;
        assert!(matches!(gone, Err(Error::NoInput { sha256 }) if sha256 == unread.sha256));
        assert_eq!(
            files(&bench.folder.path().join("store/inputs")),
            std::slice::from_ref(&read.sha256)
        );

        bench.work(None).await.expect("a job");
        bench.pass(29 * DAY);
        assert_eq!(queue.sweep().await.expect("swept").inputs, 0);
        bench.pass(DAY + 1);
        let swept = queue.sweep().await.expect("swept");
        assert_eq!((swept.jobs, swept.inputs), (1, 1));
    });
}

/// A link that somebody laid into the folder does not lead out of it.
#[cfg(unix)]
#[test]
fn links_do_not_lead_out_of_the_folder() {
    on_each(Limits::default(), |bench| async move {
        let kept = bench.queue.put_input(b"mine".to_vec()).await.expect("kept");
        let outside = tempfile::NamedTempFile::new().expect("a file");
        let path = bench.folder.path().join("store/inputs");
        let path = path.join(&kept.sha256[..2]).join(&kept.sha256);
        std::fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink(outside.path(), &path).expect("linked");
        let read = bench.queue.input(&kept.sha256).await;
        assert!(matches!(read, Err(Error::File { .. })), "{read:?}");
    });
}

#[test]
fn a_job_cannot_read_what_was_not_uploaded() {
    on_each(Limits::default(), |bench| async move {
        let with = NewJob {
            inputs: vec!["../../etc/passwd".to_owned()],
            ..job("ann", 0)
        };
        let refused = bench.queue.submit(with).await;
        assert!(matches!(refused, Err(Error::NoInput { .. })));
        assert!(bench.queue.input("../../etc/passwd").await.is_err());
    });
}
