# What Refined BSRNN left open: what does an encoder teach that learnt drums, drums and vocals,
# or nothing? 49 arms of 24 and 8 bases of 60 CPU seconds, half an hour.
# bash data/measured/refined_real_tracks.sh DATASET FOLDER   (musdb7, runs/refined; one thread)
# Here DATASET was the 94 previews as WAV: `python -m bsrnn data repair PREVIEWS DATASET`.
# Its scores on the 14 validation songs, song by song: refined_real_tracks.csv (lesson 10).
data=${1:-musdb7}
out=${2:-runs/refined}
export OMP_NUM_THREADS=1

train() {  # NAME SECONDS OPTIONS: a run of so many CPU seconds, only its last weights count
  python -m bsrnn train compact --train small --dataset "$data" --out "$out/$1" \
    -p max_minutes "$2" -p batch 4 -p checkpoint_every 100000 "${@:3}"
}
arm() {  # SCHEME BASE WAY STEM SEED: 24 CPU seconds of one stem, from an encoder or from scratch
  local from=(--initial "$out/$1-$2-$5/last.safetensors")
  [ "$3" = frozen ] && from+=(--freeze split,sequence)
  [ "$3" = scratch ] && from=()
  train "$1-$2-$3-$4-$5" 0.4 --steps 1000000 --scheme "$1" --stems "$4" --seed "$5" "${from[@]}"
}
base() {  # SCHEME NAME STEMS SEED: 60 CPU seconds
  train "$1-$2-$4" 1 --steps 1000000 --scheme "$1" --stems "$3" --seed "$4"
}

for seed in 0 1 2; do
  for scheme in v7 tet24; do  # bands made for voices against quarter tones
    base $scheme drums drums $seed
    for stem in bass other vocals; do
      arm $scheme drums frozen $stem $seed
    done
  done
  for stem in bass other vocals; do
    arm v7 none scratch $stem $seed
  done
  train v7-random-$seed 1 --steps 1 -p lr 1e-15 --scheme v7 --stems drums --seed 10$seed
  for stem in bass other vocals; do  # an encoder that has learnt nothing: one update of no size
    arm v7 random frozen $stem $seed
  done
done
for seed in 0 1 2; do
  for stem in bass other vocals; do
    arm v7 drums fine-tuned $stem $seed
  done
done
for seed in 0 1; do  # multitask: drums and vocals at once, in the same 60 seconds
  base v7 both drums,vocals $seed
  for stem in bass other; do
    arm v7 both frozen $stem $seed
  done
done
