//! What A1111 reads out of prompts.

use latent_pipeline::Request;
use latent_pipeline::loras::{asked, mentions};
use latent_pipeline::request::{Compat, Hires, Lora};
use latent_testkit::golden;
use serde_json::Value;

#[test]
fn prompts_are_read_as_a1111_reads_them() {
    let cases: Vec<Value> = serde_json::from_str(golden::ADAPTER_PROMPTS).unwrap();
    assert_eq!(cases.len(), 24);
    for case in cases {
        let prompt = case["prompt"].as_str().unwrap();
        let found = mentions(prompt);
        let expected = case["found"].as_array().unwrap();
        assert_eq!(found.len(), expected.len(), "{prompt}");
        let mut left = prompt.to_owned();
        for (mention, expected) in found.iter().zip(expected) {
            left = left.replacen(&mention.text, "", 1);
            assert_eq!(mention.kind, expected["kind"], "{prompt}");
            let arguments: Vec<Value> = mention
                .arguments
                .iter()
                .map(|a| a.as_str().into())
                .collect();
            assert_eq!(Value::from(arguments), expected["args"], "{prompt}");
            let Some(te) = expected.get("te") else {
                // A number that is none: there A1111 draws without any, here that is said.
                let bad = expected.get("error").is_some();
                assert!(!bad || mention.lora().is_err(), "{prompt}");
                continue;
            };
            if expected["name"] == "" {
                assert!(mention.lora().is_err(), "{prompt}");
                continue;
            }
            let lora = mention.lora().unwrap();
            assert_eq!(lora.name.as_str(), expected["name"].as_str(), "{prompt}");
            assert_eq!(lora.text_strength, te.as_f64(), "{prompt}");
            assert_eq!(Some(lora.strength), expected["unet"].as_f64(), "{prompt}");
            assert_eq!(
                lora.ranks.map(|r| r as u64),
                expected["dyn"].as_u64(),
                "{prompt}"
            );
        }
        assert_eq!(left, case["left"].as_str().unwrap(), "{prompt}");
    }
}

#[test]
fn only_a1111_s_profile_reads_the_prompt() {
    let table = Lora {
        strength: 0.5,
        ..Lora::from(latent_pipeline::request::Name::from("b"))
    };
    let request = |compat| Request {
        prompt: "a <lora:a:0.3>".into(),
        negative_prompt: "<lora:c:1>".into(),
        loras: vec![table.clone()],
        compat,
        ..Request::default()
    };
    let names = |compat| -> Vec<String> {
        let loras = asked(&request(compat)).unwrap();
        loras
            .iter()
            .map(|lora| format!("{} {}", lora.name, lora.strength))
            .collect()
    };
    assert_eq!(names(Compat::A1111), ["a 0.3", "b 0.5"]);
    assert_eq!(names(Compat::ComfyUi), ["b 0.5"]);
    assert_eq!(names(Compat::Diffusers), ["b 0.5"]);
    // One network draws both passes.
    let second = |prompt: &str| Request {
        hires: Some(Hires {
            prompt: Some(prompt.into()),
            ..Hires::default()
        }),
        ..request(Compat::A1111)
    };
    assert!(asked(&second("b <lora:a:0.3>")).is_ok());
    let error = asked(&second("b")).unwrap_err().to_string();
    assert!(
        error.contains("hires.prompt") && error.contains("one network"),
        "{error}"
    );
    let bad = Request {
        prompt: "<lora:a:x>".into(),
        ..Request::default()
    };
    let error = asked(&bad).unwrap_err().to_string();
    assert!(
        error.contains("`prompt` is <lora:a:x>") && error.contains("a number"),
        "{error}"
    );
}
