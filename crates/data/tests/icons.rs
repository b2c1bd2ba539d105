//! Drawings that become pictures one by one: how they are placed, what is behind them, what captions say, and sets of them.

use std::{collections::BTreeSet, fs, path::Path};

use image::{Rgb, RgbImage, Rgba, RgbaImage};
use latent_data::build::{DefaultOptions, EVERYDAY, Made, Notice, Things, default_set, icons};
use latent_data::compose::{
    Art, Background, Colour, Drawing, Framing, Ground, Manner, Single, Split, singles,
};
use serde_json::Value;

mod common;
use common::{png, put};

/// A red bar, 12 wide and 24 high, in a corner of an empty picture of 64.
fn bar(concept: &str, style: &str) -> Drawing {
    coloured(concept, style, [220, 38, 38])
}

fn coloured(concept: &str, style: &str, [r, g, b]: [u8; 3]) -> Drawing {
    let picture = RgbaImage::from_fn(64, 64, |x, y| match x < 12 && (8..32).contains(&y) {
        true => Rgba([r, g, b, 255]),
        false => Rgba([0, 0, 0, 0]),
    });
    Drawing::pixels(concept, style, picture)
}

/// A name that is learnt from in this style, with `stem` in it.
fn learnt(stem: &str, style: &str) -> String {
    let names = (0..).map(|n| format!("{stem}{}", ["", "y", "o", "ie", "us", "er"][n]));
    names
        .into_iter()
        .find(|name| !Split::holds_out(name, style))
        .unwrap()
}

fn manner() -> Manner {
    Manner {
        framing: Framing::Fitted,
        ground: Ground::White,
        oriented: true,
        styled: true,
        house: vec!["flat icon".to_owned()],
    }
}

fn made(mut drawing: Drawing, pictures: u64, manner: &Manner) -> Vec<Single> {
    manner.prepare(std::slice::from_mut(&mut drawing));
    let seeds: Vec<u64> = (0..pictures).map(|n| n * 7919 + 1).collect();
    singles(&drawing, 64, &seeds, manner)
}

/// Left, top, right and bottom of what is not the ground.
fn area(picture: &RgbImage) -> [u32; 4] {
    let ground = picture.get_pixel(0, 0);
    let far = |pixel: &Rgb<u8>| (0..3).any(|c| pixel.0[c].abs_diff(ground.0[c]) > 40);
    let inside: Vec<(u32, u32)> = picture
        .enumerate_pixels()
        .filter(|(_, _, pixel)| far(pixel))
        .map(|(x, y, _)| (x, y))
        .collect();
    let (xs, ys) = (inside.iter().map(|p| p.0), inside.iter().map(|p| p.1));
    [
        xs.clone().min().unwrap(),
        ys.clone().min().unwrap(),
        xs.max().unwrap() + 1,
        ys.max().unwrap() + 1,
    ]
}

#[test]
fn fitted_drawings_fill_their_part_in_the_middle() {
    let name = learnt("bar", "flat icon");
    for single in made(bar(&name, "flat icon"), 1, &manner()) {
        let [left, top, right, bottom] = area(&single.picture);
        // 0.88 of 64 is 56.3, and the bar is half as wide as high.
        assert_eq!([top, bottom], [4, 60]);
        assert!((right - left).abs_diff(28) <= 1, "{left} {right}");
        assert!((left + right).abs_diff(64) <= 1, "{left} {right}");
    }
    // As its file has it, the empty part counts.
    let loose = Manner {
        framing: Framing::Loose,
        ..manner()
    };
    let [_, top, _, bottom] = area(&made(bar(&name, "flat icon"), 1, &loose)[0].picture);
    assert!(bottom - top < 32);
}

#[test]
fn one_orientation_is_kept() {
    let corner = |left: bool| {
        let seen = move |x: u32, y: u32| {
            let x = if left { x } else { 39 - x };
            x < 10 || y >= 30
        };
        RgbaImage::from_fn(40, 40, |x, y| {
            Rgba([220, 38, 38, if seen(x, y) { 255 } else { 0 }])
        })
    };
    let name = learnt("hook", "flat icon");
    let mut drawings: Vec<Drawing> = [true, true, false]
        .map(|left| Drawing::pixels(name.as_str(), "flat icon", corner(left)))
        .into();
    manner().prepare(&mut drawings);
    for drawing in &drawings {
        let seeds: Vec<u64> = (0..6).collect();
        for single in singles(drawing, 64, &seeds, &manner()) {
            let [left, top, right, _] = area(&single.picture);
            let ground = single.picture.get_pixel(0, 0);
            assert_ne!(single.picture.get_pixel(left + 2, top + 2), ground);
            assert_eq!(single.picture.get_pixel(right - 3, top + 2), ground);
        }
    }
}

#[test]
fn the_ground_is_white_where_nothing_is_said() {
    let name = learnt("bar", "flat icon");
    let mut said = 0;
    let red = made(bar(&name, "flat icon"), 10, &manner());
    assert!(red.len() > 6);
    for single in &red {
        let Background::Plain(colour) = single.background else {
            panic!("{:?} is not plain", single.background);
        };
        match single.caption.contains("background") {
            true => {
                said += 1;
                assert!(
                    single
                        .caption
                        .contains(&format!("{} background", colour.word()))
                );
            }
            false => assert_eq!(colour, Colour::White, "{}", single.caption),
        }
    }
    assert!(said > 0 && said < red.len());
    // White would not be seen before white.
    let white = coloured(&name, "flat icon", [250, 250, 250]);
    let unsaid = |seed: &u64| {
        let mut manner = manner();
        manner.styled = false;
        let single = singles(&white, 64, &[*seed], &manner).remove(0);
        (!single.caption.contains("background")).then_some(single.background)
    };
    let grounds: Vec<Background> = (0..20)
        .collect::<Vec<u64>>()
        .iter()
        .filter_map(unsaid)
        .collect();
    assert!(!grounds.is_empty());
    assert!(
        grounds
            .iter()
            .all(|g| *g == Background::Plain(Colour::Blue))
    );
}

#[test]
fn looks_come_in_turn_and_styles_are_said() {
    let name = learnt("bar", "flat icon");
    let all = made(bar(&name, "flat icon"), 6, &manner());
    let styles: Vec<&str> = all
        .iter()
        .map(|single| single.group.style.as_str())
        .collect();
    assert_eq!(
        styles,
        [
            "flat icon",
            "flat icon",
            "silhouette",
            "greyscale flat icon",
            "flat icon",
            "flat icon"
        ]
    );
    assert_eq!(all[0].group.colour, Some(Colour::Red));
    let colours: BTreeSet<_> = [0, 1, 4, 5].map(|at| all[at].group.colour).into();
    assert_eq!(colours.len(), 4, "every colour once");
    assert!(
        all[2].caption.ends_with(", silhouette"),
        "{}",
        all[2].caption
    );
    assert!(all[3].caption.contains(", greyscale"), "{}", all[3].caption);
    for (at, level) in [(2, 25), (3, 92)] {
        let pixel = all[at].picture.get_pixel(32, 32).0;
        assert!(pixel.iter().all(|v| v.abs_diff(level) <= 2), "{pixel:?}");
        assert_eq!(all[at].group.colour, None);
    }
    // A style that is not of the house is never left out; a black drawing has no silhouette of its own, nor grey.
    let name = learnt("bar", "cartoon");
    let black = made(coloured(&name, "cartoon", [20, 20, 20]), 6, &manner());
    assert!(!black.is_empty());
    for single in &black {
        assert_eq!(single.group.style, "cartoon");
        assert!(single.caption.contains(", cartoon"), "{}", single.caption);
    }
}

#[test]
fn other_names_are_said_at_times() {
    let name = learnt("cat", "flat icon");
    let mut drawing = bar(&name, "flat icon");
    drawing.names = vec!["kitty".to_owned(), "tomcat".to_owned()];
    let mut counts = [0; 3];
    for seed in 0..200 {
        let single = singles(&drawing, 32, &[seed], &manner()).remove(0);
        assert_eq!(single.group.noun, name);
        let said = ["kitty", "tomcat", &name].map(|word| single.caption.contains(word));
        let first = said.iter().position(|said| *said).unwrap();
        counts[first] += 1;
    }
    assert!((40..80).contains(&(counts[0] + counts[1])), "{counts:?}");
    assert!(counts[0] > 10 && counts[1] > 10, "{counts:?}");
}

fn rows(set: &Path, table: &str) -> Vec<Value> {
    let text = fs::read_to_string(set.join(table)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn options(things: Things) -> DefaultOptions {
    DefaultOptions {
        size: 32,
        variants: 6,
        scenes: 0,
        seed: 1,
        manner: manner(),
        things: Some(things),
    }
}

#[test]
fn a_folder_of_icons_becomes_a_set() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("mine");
    let svg = |colour: &str, shape: &str| {
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="{colour}">{shape}</svg>"#
        )
    };
    let circle = r#"<circle cx="8" cy="8" r="5"/>"#;
    put(&from, "red-ball-2.svg", svg("rgb(220,38,38)", circle));
    put(&from, "line/egg.svg", svg("rgb(245,130,20)", circle));
    // With a ground of its own, which is cut away.
    let ground = format!(r#"<rect width="24" height="24" fill="white"/>{circle}"#);
    put(&from, "line/orb.svg", svg("rgb(40,100,225)", &ground));
    let scan = RgbImage::from_fn(40, 40, |x, y| {
        match (10..30).contains(&x) && (15..25).contains(&y) {
            true => Rgb([45, 160, 60]),
            false => Rgb([252, 252, 252]),
        }
    });
    put(&from, "0001.png", png(&scan));
    put(&from, "0001.txt", "A green brick, wall, Building\n");
    put(&from, "notes.gif", "GIF89a");
    let read = icons(&from, "icon").unwrap();
    let seen: BTreeSet<(String, String)> = read
        .art
        .drawings
        .iter()
        .map(|drawing| (drawing.concept.clone(), drawing.style.clone()))
        .collect();
    let expected = [
        ("red ball", "icon"),
        ("egg", "line"),
        ("orb", "line"),
        ("green brick", "icon"),
    ];
    assert_eq!(
        seen,
        expected.map(|(a, b)| (a.to_owned(), b.to_owned())).into()
    );
    let brick = read
        .art
        .drawings
        .iter()
        .find(|d| d.concept == "green brick")
        .unwrap();
    assert_eq!(brick.tags, ["wall", "building"]);
    assert_eq!(read.house().as_deref(), Some("icon"));
    assert_eq!(read.notes.len(), 1, "{:?}", read.notes);
    assert!(read.notes[0].contains("notes.gif"), "{:?}", read.notes);

    let things = Things::of(&read.art.drawings);
    let target = dir.path().join("set");
    let make = |target: &Path| -> Made {
        let notices = [Notice::Folder("mine".to_owned())];
        default_set(
            read.art.clone(),
            &notices,
            &options(things.clone()),
            target,
            &|_, _| {},
        )
        .unwrap()
    };
    let made = make(&target);
    assert_eq!((made.drawings, made.scenes), (4, 0));
    assert!(
        made.missing.is_empty() && made.unseen.is_empty(),
        "{made:?}"
    );
    let train = rows(&target, "train/metadata.jsonl");
    let test = rows(&target, "test/metadata.jsonl");
    assert_eq!((train.len(), test.len()), (made.train, made.test));
    let named: BTreeSet<&str> = train
        .iter()
        .chain(&test)
        .map(|r| r["thing"].as_str().unwrap())
        .collect();
    assert_eq!(named, ["ball", "brick", "egg", "orb"].into());
    let style = |r: &serde_json::Value| r["style"] == r["groups"][0]["style"];
    assert!(train.iter().all(style) && train[0]["style"].is_string());
    for row in rows(&target, "things.jsonl")
        .iter()
        .chain(&rows(&target, "things-test.jsonl"))
    {
        let file = target.join(row["file_name"].as_str().unwrap());
        let picture = image::open(&file).unwrap().into_rgb8();
        // Everything is fitted, what had a ground of its own as well: 0.88 of 32 is 28.
        let [left, top, right, bottom] = area(&picture);
        let longer = (right - left).max(bottom - top);
        assert!(
            longer.abs_diff(28) <= 2,
            "{row}: {left} {top} {right} {bottom}"
        );
    }
    assert_eq!(rows(&target, "things.jsonl").len(), made.train);
    let again = dir.path().join("again");
    assert_eq!(make(&again), made);
    for table in [
        "train/metadata.jsonl",
        "balanced.jsonl",
        "things.tsv",
        "vocabulary.txt",
    ] {
        assert_eq!(
            fs::read(target.join(table)).unwrap(),
            fs::read(again.join(table)).unwrap()
        );
    }
    let list = Things::read(&target.join("things.tsv")).unwrap();
    assert_eq!(list, things);
}

#[test]
fn a_folder_that_is_not_understood_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |folder: &str| {
        icons(&dir.path().join(folder), "icon")
            .unwrap_err()
            .to_string()
    };
    fs::create_dir(dir.path().join("none")).unwrap();
    assert!(
        refused("none").contains("no pictures"),
        "{}",
        refused("none")
    );
    put(
        dir.path(),
        "empty/a.svg",
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"/>"#,
    );
    assert!(refused("empty").contains("a.svg"), "{}", refused("empty"));
    put(
        dir.path(),
        "said/a.png",
        png(&RgbImage::from_pixel(8, 8, Rgb([9, 9, 9]))),
    );
    put(dir.path(), "said/a.txt", "  \n");
    assert!(refused("said").contains("a.txt"), "{}", refused("said"));
    put(dir.path(), "broken/a.png", "no picture");
    assert!(refused("broken").contains("a.png"), "{}", refused("broken"));
}

#[test]
fn a_list_names_things_and_scenes_lie_apart() {
    let dir = tempfile::tempdir().unwrap();
    // Everyday things under the names of sets, as a package has them.
    let body = r#"<path fill=\"rgb(220,38,38)\" d=\"M2 2H30V20H12V30H2Z\"/>"#;
    let keys: Vec<String> = EVERYDAY
        .iter()
        .chain(&["cat face", "two oclock", "quokka"])
        .map(|name| format!(r#""{}": {{"body": "{body}"}}"#, name.replace(' ', "-")))
        .collect();
    let set = format!(
        r#"{{"width": 32, "height": 32, "icons": {{{}}}}}"#,
        keys.join(", ")
    );
    let mut art = Art::iconify("test", "flat icon", set.as_bytes(), "{}".as_bytes()).unwrap();
    let things = Things::own().unwrap();
    things.name(&mut art.drawings);
    assert_eq!(things.leave_out(&mut art.drawings), 1, "a time is no thing");
    let options = DefaultOptions {
        scenes: 20,
        ..options(things)
    };
    let target = dir.path().join("set");
    let made = default_set(art, &[Notice::Own], &options, &target, &|_, _| {}).unwrap();
    assert_eq!(made.scenes, 21);
    assert!(made.missing.contains(&"sofa".to_owned()));
    assert!(!made.missing.contains(&"car".to_owned()));
    let listed: BTreeSet<String> = rows(&target, "things.jsonl")
        .iter()
        .chain(&rows(&target, "things-test.jsonl"))
        .map(|row| row["thing"].as_str().unwrap().to_owned())
        .collect();
    assert!(listed.contains("car") && listed.contains("cat") && !listed.contains("quokka"));
    let trained = rows(&target, "train/metadata.jsonl");
    assert!(trained.iter().all(|row| row["boxes"].is_null()), "no scene");
    assert_eq!(rows(&target, "scenes/metadata.jsonl").len(), 20);
    assert_eq!(rows(&target, "scenes-test/metadata.jsonl").len(), 1);
    let said = rows(&target, "scenes/metadata.jsonl");
    assert!(
        said.iter()
            .all(|row| row["groups"][0]["noun"] != "automobile")
    );
    let balanced = rows(&target, "balanced.jsonl");
    let scenes = |row: &&Value| row["file_name"].as_str().unwrap().starts_with("scenes/");
    let things = rows(&target, "things.jsonl").len();
    assert_eq!(balanced.iter().filter(scenes).count(), 4 * things * 5 / 70);
    assert!(balanced.len() > 4 * things);
    for row in balanced {
        assert!(target.join(row["file_name"].as_str().unwrap()).is_file());
    }
}
