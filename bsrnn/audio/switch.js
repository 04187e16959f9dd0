// The first audio element is the clock; the others follow it when they drift by over 50 ms, which
// decoders of one browser rarely do. Muting, unlike pausing, keeps them running together.
(() => {
  const box = document.getElementById("KEY"), button = box.querySelector("button");
  const slider = box.querySelector("input[type=range]"), clock = box.querySelector("output");
  const sounds = [...box.querySelectorAll("audio")];
  const choose = n => sounds.forEach((s, i) => { s.muted = i !== n; });
  const seek = t => sounds.forEach(s => { s.currentTime = t; });
  box.querySelectorAll("input[type=radio]").forEach(r =>
    r.addEventListener("change", () => choose(Number(r.value))));
  button.addEventListener("click", () => {
    if (sounds[0].paused) { seek(sounds[0].currentTime); sounds.forEach(s => s.play()); }
    else sounds.forEach(s => s.pause());
  });
  slider.addEventListener("input", () => seek(Number(slider.value)));
  sounds[0].addEventListener("play", () => { button.textContent = "Pause"; });
  sounds[0].addEventListener("pause", () => { button.textContent = "Play"; });
  sounds[0].addEventListener("timeupdate", () => {
    const t = sounds[0].currentTime;
    slider.value = t; clock.textContent = t.toFixed(1) + " s";
    sounds.forEach(s => { if (Math.abs(s.currentTime - t) > 0.05) s.currentTime = t; });
  });
  choose(0);
})();
