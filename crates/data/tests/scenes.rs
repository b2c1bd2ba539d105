//! Composed scenes: what is said of them is what can be measured in them.

use std::collections::{BTreeMap, BTreeSet};

use image::{Rgba, RgbaImage};
use latent_data::compose::{
    Art, Colour, Composer, Drawing, Relation, Scene, SceneOptions, Split, plural,
};

fn options(objects: std::ops::RangeInclusive<usize>) -> SceneOptions {
    SceneOptions {
        seed: 5,
        size: 96,
        objects,
        paint: true,
        split: Split::All,
    }
}

fn shapes(options: SceneOptions) -> Composer {
    Composer::new(Art::shapes(), options).unwrap()
}

/// The area of an object in pixels.
fn pixels(scene: &Scene, area: [f32; 4]) -> [u32; 4] {
    area.map(|v| (v * scene.picture.width() as f32).round() as u32)
}

#[test]
fn scenes_are_functions_of_seed_and_number() {
    let one = shapes(options(1..=4));
    let again = shapes(options(1..=4));
    for number in [0, 7, 1000] {
        assert_eq!(one.scene(number).unwrap(), again.scene(number).unwrap());
    }
    let other = shapes(SceneOptions {
        seed: 6,
        ..options(1..=4)
    });
    assert_ne!(one.scene(7).unwrap(), other.scene(7).unwrap());
    let captions: BTreeSet<_> = (0..50).map(|n| one.scene(n).unwrap().caption).collect();
    assert!(captions.len() > 45, "{} different captions", captions.len());
}

#[test]
fn boxes_and_masks_are_exact() {
    let composer = shapes(options(1..=4));
    for number in 0..60 {
        let scene = composer.scene(number).unwrap();
        let mut counted = 0;
        let mut claimed = image::GrayImage::new(96, 96);
        for object in &scene.objects {
            let [x0, y0, x1, y1] = pixels(&scene, object.area.area);
            let inside: Vec<(u32, u32)> = (y0..y1)
                .flat_map(|y| (x0..x1).map(move |x| (x, y)))
                .filter(|(x, y)| u32::from(scene.mask.get_pixel(*x, *y).0[0]) == object.area.class)
                .collect();
            // The box is tight: its object touches all four sides.
            assert_eq!(inside.iter().map(|p| p.0).min(), Some(x0));
            assert_eq!(inside.iter().map(|p| p.0).max(), Some(x1 - 1));
            assert_eq!(inside.iter().map(|p| p.1).min(), Some(y0));
            assert_eq!(inside.iter().map(|p| p.1).max(), Some(y1 - 1));
            for y in y0..y1 {
                for x in x0..x1 {
                    claimed.get_pixel_mut(x, y).0[0] += 1;
                }
            }
            counted += inside.len();
        }
        assert!(
            claimed.pixels().all(|p| p.0[0] <= 1),
            "objects do not overlap"
        );
        let masked = scene.mask.pixels().filter(|p| p.0[0] > 0).count();
        assert_eq!(counted, masked, "every pixel of the mask belongs to a box");
        let groups: usize = scene.groups.iter().map(|g| g.count).sum();
        assert_eq!(groups, scene.objects.len());
    }
}

#[test]
fn colours_and_relations_are_as_said() {
    let composer = shapes(options(1..=4));
    let mut relations = BTreeMap::new();
    let mut colours = BTreeSet::new();
    for number in 0..200 {
        let scene = composer.scene(number).unwrap();
        let centre = |group: usize| {
            let of = scene.objects.iter().filter(|o| o.group == group);
            let areas: Vec<[f32; 4]> = of.map(|o| o.area.area).collect();
            let edge = |at: usize, pick: fn(f32, f32) -> f32| {
                areas.iter().map(|a| a[at]).reduce(pick).unwrap()
            };
            [
                edge(0, f32::min),
                edge(1, f32::min),
                edge(2, f32::max),
                edge(3, f32::max),
            ]
        };
        for object in &scene.objects {
            let group = &scene.groups[object.group];
            let [x0, y0, x1, y1] = pixels(&scene, object.area.area);
            let mut cut = RgbaImage::new(x1 - x0, y1 - y0);
            for (x, y, pixel) in cut.enumerate_pixels_mut() {
                if scene.mask.get_pixel(x0 + x, y0 + y).0[0] > 0 {
                    let [r, g, b] = scene.picture.get_pixel(x0 + x, y0 + y).0;
                    *pixel = Rgba([r, g, b, 255]);
                }
            }
            assert_eq!(Colour::of_picture(&cut), group.colour, "{}", scene.caption);
            colours.insert(group.colour);
            assert!(scene.caption.contains(group.colour.unwrap().word()));
        }
        *relations
            .entry(format!("{:?}", scene.relation))
            .or_insert(0) += 1;
        let words = match scene.groups.len() {
            2 => scene.relation.words(),
            3 if scene.relation == Relation::LeftOf => "from left to right",
            3 => "from top to bottom",
            _ => continue,
        };
        assert!(scene.caption.contains(words), "{}", scene.caption);
        for group in 1..scene.groups.len() {
            let (a, b) = (centre(group - 1), centre(group));
            assert!(
                match scene.relation {
                    Relation::LeftOf => a[2] <= b[0],
                    Relation::RightOf => a[0] >= b[2],
                    Relation::Above => a[3] <= b[1],
                    Relation::Below => a[1] >= b[3],
                    Relation::None => false,
                },
                "{}",
                scene.caption
            );
        }
    }
    assert_eq!(relations.len(), 5, "{relations:?}");
    assert_eq!(colours.len(), Colour::PAINTS.len());
}

#[test]
fn what_is_held_out_is_never_trained() {
    let train = shapes(SceneOptions {
        split: Split::Train,
        ..options(1..=4)
    });
    let test = shapes(SceneOptions {
        split: Split::Test,
        ..options(2..=4)
    });
    let facts = |scene: &Scene| {
        let nouns: Vec<&str> = scene.groups.iter().map(|g| g.noun.as_str()).collect();
        let pairs = (0..nouns.len()).flat_map(|a| (a + 1..nouns.len()).map(move |b| (a, b)));
        let pair = pairs
            .into_iter()
            .any(|(a, b)| Split::holds_out_pair(nouns[a], nouns[b]));
        let drawing = scene.groups.iter().any(|g| {
            let word = g.colour.map_or("", Colour::word);
            Split::holds_out(&format!("{word} {}", g.noun), &g.style)
        });
        (pair, drawing)
    };
    let mut pairs = 0;
    for number in 0..150 {
        assert_eq!(facts(&train.scene(number).unwrap()), (false, false));
        let scene = test.scene(number).unwrap();
        let (pair, drawing) = facts(&scene);
        assert!(
            pair || (drawing && scene.groups.len() == 1),
            "{}",
            scene.caption
        );
        pairs += usize::from(pair);
    }
    assert!(pairs > 50);
    // What is held out may not change between versions.
    assert!(Split::holds_out_pair("star", "moon") == Split::holds_out_pair("moon", "star"));
    let held: Vec<bool> = ["red star", "green cross", "blue star"]
        .map(|s| Split::holds_out(s, "flat shape"))
        .to_vec();
    assert_eq!(held, [false, true, false]);
}

#[test]
fn drawings_that_cannot_be_told_apart_are_refused() {
    let square = |colour: [u8; 4]| RgbaImage::from_pixel(9, 9, Rgba(colour));
    let art = Art {
        drawings: vec![Drawing::pixels("box", "plain", square([200, 0, 0, 255]))],
    };
    let unpainted = SceneOptions {
        paint: false,
        ..options(1..=1)
    };
    let one = Composer::new(art.clone(), unpainted.clone()).unwrap();
    assert_eq!(one.scene(3).unwrap().groups[0].colour, Some(Colour::Red));
    assert_eq!(one.classes(), ["background", "box"]);
    let clear = Art {
        drawings: vec![Drawing::pixels("ghost", "plain", square([0, 0, 0, 0]))],
    };
    assert!(Composer::new(clear, unpainted.clone()).is_err());
    let broken = Art {
        drawings: vec![Drawing::svg("ghost", "plain", "<svg")],
    };
    assert!(Composer::new(broken, unpainted).is_err());
    assert!(Composer::new(art.clone(), options(0..=2)).is_err());
    assert!(Composer::new(art, options(2..=5)).is_err());
}

#[test]
fn names_that_are_plurals_are_not_counted() {
    let grapes = RgbaImage::from_pixel(9, 9, Rgba([120, 60, 180, 255]));
    let art = Art {
        drawings: vec![Drawing::pixels("grapes", "plain", grapes)],
    };
    let unpainted = SceneOptions {
        paint: false,
        ..options(1..=4)
    };
    let composer = Composer::new(art, unpainted).unwrap();
    for number in 0..20 {
        let scene = composer.scene(number).unwrap();
        assert_eq!(scene.objects.len(), 1);
        assert!(
            scene.caption.starts_with("purple grapes"),
            "{}",
            scene.caption
        );
    }
}

#[test]
fn colours_have_their_names() {
    for colour in Colour::ALL {
        assert_eq!(Colour::of_rgb(colour.rgb()), colour);
        assert_eq!(Colour::of_word(colour.word()), Some(colour));
    }
    let mut picture = RgbaImage::from_pixel(4, 4, Rgba([200, 30, 30, 255]));
    picture.put_pixel(0, 0, Rgba([250, 250, 250, 255]));
    Colour::Blue.paint(&mut picture);
    assert_eq!(picture.get_pixel(1, 1).0, [40, 100, 225, 255]);
    assert_eq!(
        picture.get_pixel(0, 0).0,
        [250, 250, 250, 255],
        "white stays white"
    );
}

#[test]
fn plurals() {
    for (one, many) in [
        ("apple", "apples"),
        ("cherry", "cherries"),
        ("monkey", "monkeys"),
        ("fox", "foxes"),
        ("bus", "buses"),
        ("tomato", "tomatoes"),
        ("polar bear", "polar bears"),
        ("mouse", "mice"),
        ("cup with straw", "cups with straw"),
        ("fish", "fish"),
    ] {
        assert_eq!(plural(one), many);
    }
}

#[test]
fn iconify_sets_and_folders_are_read() {
    let icons = br##"{"prefix": "x", "width": 20, "height": 10, "icons": {
        "red-apple": {"body": "<rect width='20' height='10' fill='#d00'/>"},
        "tall": {"body": "<rect width='5' height='30' fill='#0a0'/>", "height": 30}}}"##;
    let metadata = br#"{"categories": {"Food": ["red-apple"]}}"#;
    let art = Art::iconify("x", "flat icon", &icons[..], &metadata[..]).unwrap();
    assert_eq!(art.drawings[0].concept, "red apple");
    assert_eq!(
        (art.drawings[0].noun(), art.drawings[0].category.as_str()),
        ("apple", "Food")
    );
    assert_eq!(art.drawings[0].render(64).unwrap().dimensions(), (64, 32));
    assert_eq!(art.drawings[1].render(60).unwrap().dimensions(), (10, 60));
    assert!(Art::iconify("x", "", &b"{}"[..], &metadata[..]).is_err());

    let dir = tempfile::tempdir().unwrap();
    let mut cut = RgbaImage::new(30, 30);
    for x in 10..20 {
        cut.put_pixel(x, 15, Rgba([0, 0, 200, 255]));
    }
    cut.save(dir.path().join("blue-line.png")).unwrap();
    std::fs::create_dir(dir.path().join("line_art")).unwrap();
    std::fs::write(dir.path().join("line_art/old_key.svg"), "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><rect width='9' height='9'/></svg>").unwrap();
    let art = Art::folder(dir.path(), "cut-out").unwrap();
    let names: Vec<_> = art
        .drawings
        .iter()
        .map(|d| (d.concept.as_str(), d.style.as_str()))
        .collect();
    assert_eq!(names, [("blue line", "cut out"), ("old key", "line art")]);
    assert_eq!(art.drawings[0].render(40).unwrap().dimensions(), (40, 4));
}

#[test]
fn facts_are_read_back() {
    use latent_data::{DataConfig, build, compose::Facts, open};
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("set");
    let composer = shapes(options(1..=4));
    build::scenes(&composer, 3..9, &[], &target, &mut |_| {}).unwrap();
    let source = open(&DataConfig::of(target.display().to_string()), &[]).unwrap();
    let facts = Facts::read(&target).unwrap();
    assert_eq!(facts.len(), 6);
    for index in 0..source.len() {
        let scene = composer.scene(3 + index as u64).unwrap();
        let known = &facts[&source.id(index)];
        assert_eq!(known.groups, scene.groups);
        assert_eq!(known.relation, Some(scene.relation));
        assert_eq!(known.background, scene.background);
    }
    assert_eq!(Facts::read(&target.join("metadata.jsonl")).unwrap(), facts);
    assert!(Facts::read(place.path()).unwrap().is_empty());
    let alone = r#"{"file_name": "a.png", "groups": [{"count": 1, "colour": null, "noun": "owl", "class": 0, "style": "flat"}], "background": {"plain": "white"}}"#;
    std::fs::write(place.path().join("metadata.jsonl"), alone).unwrap();
    assert_eq!(Facts::read(place.path()).unwrap()["a.png"].relation, None);
    let bad = r#"{"file_name": "a.png", "groups": [{"count": "many"}]}"#;
    std::fs::write(
        place.path().join("metadata.jsonl"),
        format!("{{}}\n{bad}\n"),
    )
    .unwrap();
    let error = Facts::read(place.path()).unwrap_err().to_string();
    assert!(error.contains("row 2"), "{error}");
}
