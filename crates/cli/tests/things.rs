//! Drawings of things as a person measures them: `latent eval --things-from` and `latent by-eye`.

mod common;

use common::{Place, TINY};
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

/// What a drawing looks like, by what it shows.
fn drawing(thing: &str, number: u32) -> RgbImage {
    let at = 12 + number % 5;
    RgbImage::from_fn(32, 32, |x, y| match thing {
        "ladder" => Rgb([if (x / 2 + number).is_multiple_of(2) {
            0
        } else {
            255
        }; 3]),
        "ball" if x.abs_diff(16).pow(2) + y.abs_diff(at).pow(2) < 80 => Rgb([220, 30, 30]),
        "dot" if x.abs_diff(16) < 2 && y.abs_diff(at) < 2 => Rgb([0, 0, 200]),
        _ => Rgb([255; 3]),
    })
}

/// `train` and `test` with tables that say what is shown; one thing has a single picture.
fn sets(place: &Place) {
    for (set, count) in [("train", 24), ("test", 12)] {
        let folder = place.path().join(set);
        std::fs::create_dir(&folder).unwrap();
        let mut table = String::new();
        for i in 0..count {
            let thing = match i {
                0 => "dot",
                i if i % 2 == 0 => "ball",
                _ => "ladder",
            };
            drawing(thing, i)
                .save(folder.join(format!("{i}.png")))
                .unwrap();
            let row = json!({
                "file_name": format!("{i}.png"),
                "text": format!("a {thing}, number {i}"),
                "thing": thing,
                "kind": if thing == "ladder" { "tool" } else { "toy" },
            });
            table += &format!("{row}\n");
        }
        std::fs::write(folder.join("metadata.jsonl"), table).unwrap();
    }
}

const EVAL: &[&str] = &[
    "eval",
    "--json",
    "--model",
    TINY,
    "--size",
    "64",
    "--data",
    "test",
    "--steps",
    "2",
    "--count",
    "10",
    "--encoder-steps",
    "2",
];

fn eval<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [EVAL, more].concat()
}

#[test]
fn things_are_measured_by_a_judge_that_learns_here() {
    let place = Place::new();
    sets(&place);
    let line = eval(&[
        "--train",
        "train",
        "--things-from",
        "thing",
        "--subgroups-from",
        "kind",
        "--judge-steps",
        "12",
        "--from-noise",
        "0.1,0.5",
        "--seeds",
        "2",
        "-o",
        "out",
    ]);
    let report: Value = serde_json::from_str(&place.ok(&line)).unwrap();
    let things = &report["things"];
    let judge = &things["judge"];
    assert_eq!(
        (&judge["things"], &judge["choices"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(judge["pictures"], 24);
    assert_eq!(judge["real"]["pictures"], 12);
    assert_eq!(judge["valid"], true, "{judge}");
    assert!(judge["real"]["top_1"].as_f64().unwrap() > 0.7, "{judge}");
    assert_eq!(judge["real"]["top_5"], 1.0, "of three things");
    assert_eq!(judge["through"]["pictures"], 10);
    assert!(judge["autoencoder"].as_str().unwrap().contains("tiny"));
    let accuracy = &things["accuracy"];
    assert_eq!(accuracy["drawn"]["pictures"], 6, "three things, two seeds");
    assert!(
        accuracy["retrieval"]["top_1"].as_f64().unwrap() > 0.6,
        "{accuracy}"
    );
    let tallies = accuracy["each"].as_array().unwrap();
    let named: u64 = tallies.iter().map(|t| t["named"].as_u64().unwrap()).sum();
    let top = accuracy["drawn"]["top_1"].as_f64().unwrap();
    assert!((top - named as f64 / 6.0).abs() < 1e-9, "{accuracy}");
    assert_eq!(things["nouns"]["pictures"], 10);
    assert_eq!(things["nouns"]["choices"], 3);
    let noised = things["from_noise"].as_array().unwrap();
    assert_eq!(
        noised
            .iter()
            .map(|n| n["t"].as_f64().unwrap())
            .collect::<Vec<_>>(),
        [0.1, 0.5]
    );
    assert_eq!(noised[0]["accuracy"]["pictures"], 10);
    let foreign = &things["foreign"];
    assert!(!foreign["prompts"].as_array().unwrap().is_empty());
    for prompt in foreign["prompts"].as_array().unwrap() {
        assert!(
            !prompt.as_str().unwrap().contains("red ball"),
            "balls are red"
        );
    }
    assert_eq!(things["seeds"]["things"], 2, "one thing has one picture");
    assert!(things["seeds"]["pixels"]["real"].as_f64().unwrap() > 0.0);
    for name in [
        "things.png",
        "from-noise.png",
        "foreign.png",
        "seeds.png",
        "judge.json",
    ] {
        assert!(place.path().join("out").join(name).exists(), "{name}");
    }
    let left_out = report["left_out"].to_string();
    assert!(left_out.contains("--features"), "{left_out}");
    // What the judge has learnt is used again, and the numbers are the same.
    let weights = place.bytes("out/judge.safetensors");
    assert_eq!(
        serde_json::from_str::<Value>(&place.ok(&line)).unwrap(),
        report
    );
    assert_eq!(place.bytes("out/judge.safetensors"), weights);
}

#[test]
fn a_judge_that_names_too_little_gives_no_verdict() {
    let place = Place::new();
    sets(&place);
    // Held-out drawings under the wrong names.
    let path = place.path().join("test/metadata.jsonl");
    let table = std::fs::read_to_string(&path).unwrap();
    let wrong = table.replace("\"thing\":\"ball\"", "\"thing\":\"x\"");
    let wrong = wrong.replace("\"thing\":\"ladder\"", "\"thing\":\"dot\"");
    assert_ne!(table, wrong);
    std::fs::write(
        &path,
        wrong.replace("\"thing\":\"x\"", "\"thing\":\"ladder\""),
    )
    .unwrap();
    let line: Vec<&str> = eval(&[
        "--train",
        "train",
        "--things-from",
        "thing",
        "--judge-steps",
        "8",
        "--seeds",
        "1",
        "--from-noise",
        "0.3",
        "-o",
        "out",
    ]);
    let line: Vec<&str> = line.into_iter().filter(|word| *word != "--json").collect();
    let said = place.ok(&line);
    assert!(said.contains("no verdict"), "{said}");
    assert!(said.contains("left out: what the judge says"), "{said}");
    let report: Value = serde_json::from_slice(&place.bytes("out/report.json")).unwrap();
    let things = &report["things"];
    assert_eq!(things["judge"]["valid"], false);
    assert!(things["accuracy"].is_null() && things["seeds"]["features"].is_null());
    assert!(things["from_noise"].as_array().unwrap().is_empty());
    assert!(things["foreign"]["accuracy"].is_null());
    assert!(things["foreign"]["colour"]["asked"].as_u64().unwrap() > 0);
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_reason() {
    let place = Place::new();
    sets(&place);
    std::fs::create_dir(place.path().join("plain")).unwrap();
    for i in 0..12 {
        let name = place.path().join(format!("plain/{i}"));
        drawing("ball", i).save(name.with_extension("png")).unwrap();
        std::fs::write(name.with_extension("txt"), format!("a ball {i}")).unwrap();
    }
    std::fs::write(
        place.path().join("list.tsv"),
        "thing\talso\tdrawn as\nball\t\t\n",
    )
    .unwrap();
    let train = ["--train", "train", "-o", "out"];
    for (more, said) in [
        (&["--things-from", "noun"][..], "noun"),
        (
            &["--things-from", "thing", "--train", "plain"],
            "has no columns",
        ),
        (
            &["--things-from", "thing", "--subgroups-from", "shelf"],
            "shelf",
        ),
        (&["--things-from", "thing", "--things=list.tsv"], "1 thing"),
        (&["--things-from", "thing", "--things=none.tsv"], "none.tsv"),
        (
            &["--things-from", "thing", "--judge-steps", "0"],
            "--judge-steps",
        ),
        (&["--things-from", "thing", "--seeds", "0"], "--seeds"),
        (
            &["--things-from", "thing", "--from-noise", "1"],
            "above 0 and below 1",
        ),
        (&["--from-noise", "0.2"], "give --things-from"),
        (&["--things"], "give --things-from"),
        (
            &["--subgroups-from", "kind"],
            "what a picture shows is not known",
        ),
    ] {
        let given = if more.contains(&"--train") {
            &train[2..]
        } else {
            &train[..]
        };
        let error = place.fails(&eval(&[given, more].concat()), 2);
        assert!(error.contains(said), "{more:?}: {error}");
    }
    let error = place.fails(&eval(&["--things-from", "thing"]), 2);
    assert!(error.contains("give --train too"), "{error}");
}

#[test]
fn a_stranger_names_what_was_drawn() {
    let place = Place::new();
    sets(&place);
    let write = |name: &str, text: &str| std::fs::write(place.path().join(name), text).unwrap();
    write(
        "list.tsv",
        "thing\talso\tdrawn as\nball\tsphere\t\nladder\tsteps\t\ndot\t\t\n",
    );
    write("prompts.txt", "a red ball\nsteps, flat icon\na gizmo\n\n");
    let line = [
        "by-eye",
        "draw",
        "eye",
        "--prompts-from",
        "prompts.txt",
        "--data",
        "test",
        "--things",
        "list.tsv",
        "--real",
        "2",
        "--model",
        TINY,
        "--size",
        "64",
        "--steps",
        "1",
    ];
    let said = place.ok(&line);
    assert!(said.contains("5 pictures"), "{said}");
    // Nothing but numbers is shown.
    let mut shown: Vec<String> = std::fs::read_dir(place.path().join("eye/pictures"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    shown.sort();
    assert_eq!(
        shown,
        [
            "001.png",
            "002.png",
            "003.png",
            "004.png",
            "005.png",
            "sheet.png"
        ]
    );
    let key: Value = serde_json::from_slice(&place.bytes("eye/key.json")).unwrap();
    let pictures = key["pictures"].as_array().unwrap();
    let real: Vec<&Value> = pictures.iter().filter(|p| p["kind"] == "real").collect();
    assert_eq!(real.len(), 2);
    assert_ne!(real[0]["names"], real[1]["names"], "different things");
    assert!(place.fails(&line, 2).contains("exists already"));
    // Every picture rightly, by its last name, but for one of the drawn.
    let words = pictures.iter().map(|p| {
        let name = p["names"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .as_str()
            .unwrap();
        let name = if p["from"] == "a gizmo" { "cat" } else { name };
        format!("{}: the {name}\n", p["number"])
    });
    write("words.txt", &words.collect::<String>());
    let score: Value =
        serde_json::from_str(&place.ok(&["by-eye", "score", "eye", "words.txt", "--json"]))
            .unwrap();
    assert_eq!(
        score["drawn"],
        json!({"right": 2, "unanswered": 0, "pictures": 3})
    );
    assert_eq!(
        score["real"],
        json!({"right": 2, "unanswered": 0, "pictures": 2})
    );
    assert!(place.path().join("eye/score.json").exists());
    write("words.txt", "9 cat\n");
    let error = place.fails(&["by-eye", "score", "eye", "words.txt"], 2);
    assert!(
        error.contains("words.txt") && error.contains("no picture 9"),
        "{error}"
    );
    let more = [&line[..2], &["eye2"], &line[3..]].concat();
    let many: Vec<&str> = more
        .iter()
        .map(|word| if *word == "2" { "99" } else { *word })
        .collect();
    assert!(
        place
            .fails(&many, 2)
            .contains("12 pictures that show a thing of the list")
    );
}
