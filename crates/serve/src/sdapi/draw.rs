//! `txt2img` and `img2img`: enqueue, then wait.

use axum::extract::State;
use axum::response::Response;
use serde_json::Value;

use super::answer::{self, Asked};
use super::error::Result;
use super::fields::Fields;
use super::translate::{self, Beside, Translated};
use crate::api::keep;
use crate::app::Shared;
use crate::fault::Result as Outcome;
use crate::guard::{Caller, Json};
use crate::submit::{Ask, Waiter, place, submit};
use crate::{extra, wait};

/// `POST txt2img`.
pub async fn txt2img(
    State(app): State<Shared>,
    caller: Caller,
    body: Outcome<Json<Value>>,
) -> Result<Response> {
    draw(app, caller, body?, false).await
}

/// `POST img2img`.
pub async fn img2img(
    State(app): State<Shared>,
    caller: Caller,
    body: Outcome<Json<Value>>,
) -> Result<Response> {
    draw(app, caller, body?, true).await
}

async fn draw(
    app: Shared,
    caller: Caller,
    body: Json<Value>,
    from_picture: bool,
) -> Result<Response> {
    let place = place(&app)?;
    let Json { mut value, held } = body;
    let more = extra::of_prompt(&mut value)?;
    let mut fields = match from_picture {
        true => Fields::img2img(&value)?,
        false => Fields::txt2img(&value)?,
    };
    drop((held, value));
    let catalogue = app.engine(|engine| Ok(engine.catalogue())).await?;
    let styles = app.styles.get();
    let beside = Beside {
        catalogue: &catalogue,
        styles: &styles,
        settings: app.settings.get(),
        limits: &app.config.limits,
    };
    let mut done = translate::common(&fields, &beside)?;
    match from_picture {
        true => translate::start(&fields, &mut done, &beside)?,
        false => translate::hires(&fields, &mut done.request)?,
    }
    if let Some(more) = more {
        extra::lay(
            &mut done.request,
            &mut done.given,
            &more,
            &app.config.limits,
        )?;
    }
    let Translated {
        mut request,
        given,
        settings,
    } = done;
    settings.below(&mut request);
    if !fields.flag("override_settings_restore_afterwards") && settings != app.settings.get() {
        let kept = settings.clone();
        keep(&app, move |app| app.settings.set(kept)).await?;
    }
    let ask = Ask {
        request,
        given,
        output: Some(settings.output()),
        front: "a1111",
        ..Ask::default()
    };
    let taken = submit(&app, &caller, ask).await?;
    if let Some(task) = fields.text("force_task_id") {
        app.tasks.put(caller.owner(), task, taken.job.id);
    }
    if !fields.flag("include_init_images") {
        for name in ["init_images", "mask"] {
            if let Some(value) = fields.0.get_mut(name) {
                *value = Value::Null;
            }
        }
    }
    let saved = fields.flag("save_images");
    let waiter = Waiter::new(&app, taken.job.id, saved, place);
    let asked = Asked {
        fields,
        order: taken.order,
        model: catalogue
            .models
            .into_iter()
            .find(|model| Some(&model.name) == taken.job.model.as_ref()),
    };
    let shared = app.clone();
    let answered = wait::answer(&app, waiter, move |job| async move {
        answer::of(&shared, &job, asked).await
    });
    Ok(answered.await?)
}
