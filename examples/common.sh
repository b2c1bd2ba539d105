# Shared by the examples: what they make goes to runs/, and what is there already is not made again.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --release --locked --workspace --bins

latent() { target/release/latent "$@"; }
judge() { target/release/judge "$@"; }

# trained NAME [SETTINGS]: trains examples/NAME.toml or SETTINGS into runs/NAME, from where it was stopped.
trained() {
  [ -d "runs/$1/model" ] || latent train "${2:-examples/$1.toml}" --out "runs/$1" --resume
}

# Composed scenes of one or two of eight things, and the autoencoder that all examples on them share.
scenes() {
  local set="--art fluent-flat --concepts apple,banana,automobile,fish,house,guitar,umbrella,cactus --size 32 --most 2"
  [ -d runs/scenes/train ] || latent data build scenes runs/scenes/train $set --count 20000
  [ -d runs/scenes/test ] || latent data build scenes runs/scenes/test $set --first 1000000 --count 1000
  trained scenes/first-stage
}
