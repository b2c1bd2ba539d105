//! What pictures say of the embeddings that they were drawn with.

use std::path::Path;

use latent_pipeline::asked::{Asked, Base, Layer};
use latent_pipeline::embeddings::Embeddings;
use latent_pipeline::infotext::Infotext;
use latent_pipeline::picture::metadata::Metadata;
use latent_pipeline::request::Compat;
use latent_pipeline::resources::{Disk, Models};
use latent_pipeline::{Hooks, Request, run};

use super::common::{scheduler, tiny};
use super::{drawn_by, folder, published};

#[derive(Default)]
struct Notes(Vec<String>);

impl Hooks for Notes {
    fn note(&mut self, note: String) {
        self.0.push(note);
    }
}

fn disk(folder: &Path) -> Disk {
    Disk {
        models: Models {
            embeddings: Embeddings::open(&[folder.to_owned()]).expect("embeddings"),
            ..Models::default()
        },
    }
}

#[test]
fn pictures_say_which_they_were_drawn_with() {
    let model = tiny(4, scheduler());
    let (folder, _) = folder(&[
        ("zeta.pt", published("zeta.pt")),
        ("eta, x.bin", published("zeta_one.bin")),
    ]);
    let resources = disk(folder.path());
    let request = Request {
        steps: 2,
        compat: Compat::A1111,
        ..drawn_by("a zeta", "eta, x, zeta")
    };
    let mut notes = Notes::default();
    let drawn = run(&request, &model, &resources, None, &mut notes).expect("a picture");
    assert_eq!(notes.0, Vec::<String>::new());
    let hash = |file: &str| {
        let entries = resources.models.embeddings.entries();
        let entry = entries.iter().find(|entry| entry.file == file);
        entry.expect("an entry").hash().expect("a hash")
    };
    let told = format!(
        "TI hashes: \"zeta: {}, eta x: {}\"",
        hash("zeta.pt"),
        hash("eta, x.bin")
    );
    let text = &drawn[0].infotext;
    assert!(text.contains(&told), "{text}");
    assert_eq!(Infotext::parse(text).embeddings().len(), 2);
    let unnamed = Request {
        prompt: "a cat".into(),
        negative_prompt: String::new(),
        ..request
    };
    let drawn = run(&unnamed, &model, &resources, None, &mut notes).expect("a picture");
    assert!(!drawn[0].infotext.contains("TI hashes"));
    assert!(
        notes.0[0].contains("no prompt names one of the 2 embeddings"),
        "{:?}",
        notes.0
    );

    // Repeated with them, without them, with another of the name.
    let metadata = Metadata {
        parameters: Some(text.clone()),
        ..Metadata::default()
    };
    let picture = latent_pipeline::picture::Picture::plain(8, 8, [9; 3]);
    let bytes = picture.encode(latent_pipeline::picture::files::Format::Png, 95, &metadata);
    let bytes = bytes.expect("a picture");
    let asked = |resources: &Disk| {
        let base = Base::of_picture("a.png", &bytes).expect("settings");
        let typed = Layer::of(serde_json::json!({"model": folder.path().join("zeta.pt")}));
        let asked = Asked::of(base, typed.expect("a layer"), None, resources, &mut || 7);
        let notes = asked.expect("a request").notes.into_iter();
        notes
            .filter(|note| note.contains("embedding"))
            .collect::<Vec<_>>()
    };
    assert_eq!(asked(&resources), Vec::<String>::new());
    let without = asked(&Disk::default());
    assert!(
        without.len() == 2 && without[0].contains("--embeddings DIR"),
        "{without:?}"
    );
    std::fs::write(folder.path().join("zeta.pt"), published("zeta.bin")).expect("a file");
    let other = asked(&resources);
    assert!(
        other.len() == 1 && other[0].contains("another of that name"),
        "{other:?}"
    );
}
