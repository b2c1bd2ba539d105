//! Who asks too often waits.

use crate::common::{Running, start_with};
use latent_serve::User;

const ANN: (&str, &str) = ("authorization", "Basic YW5uOm9uZQ==");
const BOB: (&str, &str) = ("authorization", "Bearer two");

async fn with_users(rate: u32, tries: u32) -> Running {
    let users = ["ann:one", "bob:two"].map(|user| User::parse(user).expect("a user"));
    start_with(|c| {
        c.users = users.to_vec();
        (c.limits.rate, c.limits.tries) = (rate, tries);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_has_its_own_rate() {
    let server = with_users(50, 10).await;
    let ask = async |key, path| server.send("GET", path, &[key], b"").await;
    // A tenth of them may come at once; the sixth is due 1.2 s after the first.
    let mut refused = 0;
    for _ in 0..7 {
        let answer = ask(ANN, "/api/v1/jobs").await;
        if answer.status == 429 {
            refused += 1;
            assert_eq!(answer.json()["code"], "rate_limited");
            let seconds = answer.header("retry-after").expect("a time");
            assert!((1..=2).contains(&seconds.parse::<u64>().expect("seconds")));
        }
    }
    assert!(refused >= 1, "seven at once were let through");
    let theirs = ask(ANN, "/v1/models").await;
    assert_eq!(theirs.json()["error"]["type"], "rate_limit_error");
    assert_eq!(ask(BOB, "/api/v1/jobs").await.status, 200);
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_alone_is_not_counted() {
    let server = start_with(|c| c.limits.rate = 10).await;
    for _ in 0..20 {
        assert_eq!(server.get("/api/v1/jobs").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_not_guessed() {
    let server = with_users(6000, 2).await;
    let wrong = ("authorization", "Bearer three");
    let form = ("content-type", "application/x-www-form-urlencoded");
    for _ in 0..3 {
        let answer = server.send("GET", "/api/v1/jobs", &[wrong], b"").await;
        assert_eq!(answer.status, 401);
    }
    let page = b"username=ann&password=two";
    let answer = server.send("POST", "/login", &[form], page).await;
    assert_eq!(answer.status, 401, "the page counts with the others");
    // Then the right one says no more than a wrong one.
    for key in [wrong, BOB] {
        let answer = server.send("GET", "/api/v1/jobs", &[key], b"").await;
        answer.refused(429, "too_many_tries");
        assert!(answer.header("retry-after").is_some());
    }
    let page = b"username=ann&password=one";
    let answer = server.send("POST", "/login", &[form], page).await;
    answer.refused(429, "too_many_tries");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_the_guesses_of_others() {
    let server = with_users(6000, 1).await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let page = b"username=ann&password=one";
    let answer = server.send("POST", "/login", &[form], page).await;
    let cookie = answer.header("set-cookie").expect("a cookie").to_owned();
    let pair = ("cookie", cookie.split(';').next().expect("a pair"));
    for _ in 0..4 {
        let wrong = ("authorization", "Bearer three");
        server.send("GET", "/api/v1/jobs", &[wrong], b"").await;
    }
    let answer = server.send("GET", "/api/v1/jobs", &[pair], b"").await;
    assert_eq!(answer.status, 200);
}
