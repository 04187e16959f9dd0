// The band instrument: band schemes side by side over a spectrogram, to see, hear, design and keep.
//
// One ES module without imports, build step or network. It is hosted three ways: `render` for
// anywidget (Jupyter, Colab), `mount` for a page or a single HTML file (bsrnn/explore/instrument.py).
// Tables of schemes, coefficients of the cost and the words about validity come from the package in
// `spec`; the arithmetic here is that of bsrnn.bands (frames, oracle, design) and tests compare both.
//
// Axes as in the package: S stems, C channels, L samples, F bins, T frames, K bands, W bins of a band.
// A spectrum is {re, im}: per channel a Float32Array (T * F), frame after frame.

// ---- Numbers ---------------------------------------------------------------------------------------

class Fft {
  constructor(n) {
    this.n = n;
    this.cos = new Float64Array(n); // those of the stage with `half` butterflies begin at `half`
    this.sin = new Float64Array(n);
    for (let half = 1; half < n; half *= 2) {
      for (let k = 0; k < half; k++) {
        this.cos[half + k] = Math.cos((Math.PI * k) / half);
        this.sin[half + k] = -Math.sin((Math.PI * k) / half);
      }
    }
    this.turned = new Uint32Array(n);
    for (let i = 1, bits = Math.log2(n); i < n; i++) {
      this.turned[i] = (this.turned[i >> 1] >> 1) | ((i & 1) << (bits - 1));
    }
  }

  // In place; with re and im exchanged it is the inverse, times n.
  run(re, im) {
    const { n, cos, sin, turned } = this;
    for (let i = 0; i < n; i++) {
      const j = turned[i];
      if (j > i) {
        let x = re[i]; re[i] = re[j]; re[j] = x;
        x = im[i]; im[i] = im[j]; im[j] = x;
      }
    }
    for (let i = 0; i < n; i += 2) { // the first stage has no factors
      const xr = re[i + 1], xi = im[i + 1];
      re[i + 1] = re[i] - xr;
      im[i + 1] = im[i] - xi;
      re[i] += xr;
      im[i] += xi;
    }
    for (let half = 2; half < n; half *= 2) {
      for (let start = 0; start < n; start += 2 * half) {
        for (let w = half, a = start, b = start + half; w < 2 * half; w++, a++, b++) {
          const c = cos[w], s = sin[w], xr = re[b], xi = im[b];
          const tr = xr * c - xi * s, ti = xr * s + xi * c, ur = re[a], ui = im[a];
          re[b] = ur - tr;
          im[b] = ui - ti;
          re[a] = ur + tr;
          im[a] = ui + ti;
        }
      }
    }
  }
}

// Frames centred on multiples of a quarter of n_fft, ends mirrored, Hann: frames.centred.
class Stft {
  constructor(nFft) {
    this.n = nFft;
    this.hop = nFft / 4;
    this.bins = nFft / 2 + 1;
    this.fft = new Fft(nFft);
    this.window = Float64Array.from({ length: nFft }, (_, i) =>
      0.5 - 0.5 * Math.cos((2 * Math.PI * i) / nFft));
    this.re = new Float64Array(nFft);
    this.im = new Float64Array(nFft);
  }

  frames(length) {
    return Math.floor(Math.max(length, this.n / 2 + 1) / this.hop) + 1;
  }

  _padded(x) {
    const half = this.n / 2, length = Math.max(x.length, half + 1);
    const padded = new Float64Array(length + this.n);
    for (let i = -half; i < length + half; i++) {
      const at = i < 0 ? -i : i >= length ? 2 * (length - 1) - i : i;
      padded[i + half] = at < x.length ? x[at] : 0;
    }
    return padded;
  }

  // channels: C Float32Arrays (L). Two channels share one transform.
  analyse(channels) {
    const { n, hop, bins, window, re, im, fft } = this, frames = this.frames(channels[0].length);
    const energy = new Float64Array(bins), spectrum = { re: [], im: [], energy, frames, bins };
    const padded = channels.map((x) => this._padded(x));
    const right = padded[1];
    for (const _ of channels) {
      spectrum.re.push(new Float32Array(frames * bins));
      spectrum.im.push(new Float32Array(frames * bins));
    }
    const [aRe, bRe] = spectrum.re, [aIm, bIm] = spectrum.im;
    for (let t = 0; t < frames; t++) {
      for (let i = 0, at = t * hop; i < n; i++, at++) {
        re[i] = padded[0][at] * window[i];
        im[i] = right ? right[at] * window[i] : 0;
      }
      fft.run(re, im);
      for (let f = 0, at = t * bins; f < bins; f++, at++) {
        const g = (n - f) % n;
        const pr = (re[f] + re[g]) / 2, pi = (im[f] - im[g]) / 2;
        aRe[at] = pr;
        aIm[at] = pi;
        energy[f] += pr * pr + pi * pi;
        if (right) {
          const qr = (im[f] + im[g]) / 2, qi = (re[g] - re[f]) / 2;
          bRe[at] = qr;
          bIm[at] = qi;
          energy[f] += qr * qr + qi * qi;
        }
      }
    }
    return spectrum;
  }

  // fill(t, re, im): writes the bins of frame t for each channel, re[c] and im[c] (F).
  synthesise(channelCount, length, fill) {
    const { n, hop, bins, window, re, im, fft } = this, frames = this.frames(length);
    const sums = Array.from({ length: channelCount }, () => new Float64Array((frames - 1) * hop + n));
    const yr = sums.map(() => new Float64Array(bins)), yi = sums.map(() => new Float64Array(bins));
    for (let t = 0; t < frames; t++) {
      fill(t, yr, yi);
      const two = channelCount > 1;
      for (let f = 0; f < bins; f++) {
        const real = f === 0 || f === bins - 1; // their imaginary parts are no sound
        const lr = yr[0][f], li = real ? 0 : yi[0][f];
        const rr = two ? yr[1][f] : 0, ri = two && !real ? yi[1][f] : 0;
        re[f] = lr - ri;
        im[f] = li + rr;
        if (!real) {
          re[n - f] = lr + ri;
          im[n - f] = rr - li;
        }
      }
      fft.run(im, re);
      const at = t * hop, left = sums[0], right = sums[1];
      for (let i = 0; i < n; i++) left[at + i] += re[i] * window[i];
      if (two) for (let i = 0; i < n; i++) right[at + i] += im[i] * window[i];
    }
    const scale = this._scale(length, frames), half = n / 2;
    return sums.map((sum) => {
      const sound = new Float32Array(length);
      for (let i = 0; i < length; i++) sound[i] = sum[i + half] * scale[i];
      return sound;
    });
  }

  // 1 / (n * the squared windows that lie over each sample): kept, for it never changes.
  _scale(length, frames) {
    if (this._scales?.length === length) return this._scales;
    const { n, hop, window } = this, weight = new Float64Array((frames - 1) * hop + n);
    for (let t = 0; t < frames; t++) {
      for (let i = 0; i < n; i++) weight[t * hop + i] += window[i] * window[i];
    }
    this._scales = Float64Array.from({ length }, (_, i) => 1 / (n * (weight[i + n / 2] || 1)));
    return this._scales;
  }
}

// A song of some seconds at one n_fft: spectra of its stems and their sum, energies, oracles.
class Excerpt {
  // stems: {name: C Float32Arrays}; none: only a mixture is known, and nothing is bounded.
  constructor(stems, mixture, sampleRate, nFft) {
    this.sampleRate = sampleRate;
    this.stft = new Stft(nFft);
    this.names = Object.keys(stems);
    this.sounds = { ...stems, mixture: mixture || summed(Object.values(stems)) };
    this.length = this.sounds.mixture[0].length;
    this.channels = this.sounds.mixture.length;
    this.spectra = {};
    for (const [name, channels] of Object.entries(this.sounds)) {
      this.spectra[name] = this.stft.analyse(channels);
    }
    this.frames = this.spectra.mixture.frames;
    this.bins = this.stft.bins;
    this.energy = this.names.map((name) => total(this.spectra[name].energy));
    this._bands = new Map();
    this._systems = new WeakMap();
    this._lost = new WeakMap();
  }

  // One band that shares no bin: what it explains of each stem, and its best values, (S, C, T, 2).
  band(lo, hi) {
    const key = lo * 65536 + hi;
    let made = this._bands.get(key);
    if (made) return made;
    const { names, channels, frames, bins } = this, mixture = this.spectra.mixture;
    made = {
      explained: new Float64Array(names.length),
      values: new Float32Array(names.length * channels * frames * 2),
    };
    for (let c = 0; c < channels; c++) {
      const xr = mixture.re[c], xi = mixture.im[c];
      for (let t = 0; t < frames; t++) {
        const from = t * bins + lo, to = t * bins + hi;
        let power = 0;
        for (let i = from; i < to; i++) power += xr[i] * xr[i] + xi[i] * xi[i];
        if (!(power > 0)) continue;
        for (let s = 0; s < names.length; s++) {
          const stem = this.spectra[names[s]], sr = stem.re[c], si = stem.im[c];
          let rr = 0, ri = 0;
          for (let i = from; i < to; i++) {
            rr += xr[i] * sr[i] + xi[i] * si[i];
            ri += xr[i] * si[i] - xi[i] * sr[i];
          }
          made.explained[s] += (rr * rr + ri * ri) / power;
          const at = 2 * ((s * channels + c) * frames + t);
          made.values[at] = rr / power;
          made.values[at + 1] = ri / power;
        }
      }
    }
    if (this._bands.size > 700) this._bands.clear();
    this._bands.set(key, made);
    return made;
  }

  // Overlapping bands are solved together; null while that has not been done (see `solve`).
  solved(scheme) {
    if (scheme.weights) return this._systems.get(scheme) || null;
    const parts = scheme.ranges.map(([lo, hi]) => this.band(lo, hi));
    const explained = new Float64Array(this.names.length);
    for (const part of parts) part.explained.forEach((x, s) => { explained[s] += x; });
    return { explained, values: parts.map((part) => part.values) };
  }

  // Normal equations of all bands in each channel and frame, in slices so that the page stays awake.
  async solve(scheme, rest = pause) {
    if (!scheme.weights || this._systems.has(scheme)) return;
    const { names, channels, frames, bins } = this, K = scheme.ranges.length, S = names.length;
    const system = new BandedSystem(scheme, bins, 2 * S), mixture = this.spectra.mixture;
    const made = {
      explained: new Float64Array(S),
      values: scheme.ranges.map(() => new Float32Array(S * channels * frames * 2)),
    };
    const power = new Float64Array(bins), cross = new Float64Array(bins);
    let began = performance.now();
    for (let c = 0; c < channels; c++) {
      const xr = mixture.re[c], xi = mixture.im[c];
      for (let t = 0; t < frames; t++) {
        const from = t * bins;
        for (let f = 0, i = from; f < bins; f++, i++) power[f] = xr[i] * xr[i] + xi[i] * xi[i];
        system.load(power);
        for (let s = 0; s < S; s++) {
          const sr = this.spectra[names[s]].re[c], si = this.spectra[names[s]].im[c];
          for (let f = 0, i = from; f < bins; f++, i++) cross[f] = xr[i] * sr[i] + xi[i] * si[i];
          system.right(2 * s, cross);
          for (let f = 0, i = from; f < bins; f++, i++) cross[f] = xr[i] * si[i] - xi[i] * sr[i];
          system.right(2 * s + 1, cross);
        }
        system.solve();
        for (let s = 0; s < S; s++) {
          made.explained[s] += system.explained(2 * s) + system.explained(2 * s + 1);
          const at = 2 * ((s * channels + c) * frames + t);
          for (let k = 0; k < K; k++) {
            made.values[k][at] = system.answer[2 * s * K + k];
            made.values[k][at + 1] = system.answer[(2 * s + 1) * K + k];
          }
        }
        if (performance.now() - began > 14) {
          await rest();
          began = performance.now();
        }
      }
    }
    this._systems.set(scheme, made);
  }

  // Bound in dB of each stem, (S,); null while unknown, NaN for a silent one.
  bounds(scheme) {
    const solved = this.solved(scheme);
    return solved && this.energy.map((energy, s) => energy > 0
      ? 10 * Math.log10(energy / Math.max(energy - solved.explained[s], 1e-12 * energy)) : NaN);
  }

  // Share of the energy of a source in each band, (K,).
  share(scheme, name) {
    const energy = this.spectra[name].energy, whole = total(energy) || 1;
    return perBand(scheme, (f) => energy[f] / whole);
  }

  // Energy of what the oracle misses in each band, as a share of the stem, (K,); null while unknown.
  lost(scheme, name) {
    const s = this.names.indexOf(name), solved = s < 0 ? null : this.solved(scheme);
    if (!solved) return null;
    if (!scheme.weights) {
      const share = this.share(scheme, name), energy = this.energy[s] || 1;
      return scheme.ranges.map(([lo, hi], k) =>
        Math.max(0, share[k] - this.band(lo, hi).explained[s] / energy));
    }
    const known = this._lost.get(scheme) || {};
    if (!known[name]) {
      const error = new Float64Array(this.bins);
      const mr = new Float64Array(this.bins), mi = new Float64Array(this.bins);
      for (let c = 0; c < this.channels; c++) {
        const xr = this.spectra.mixture.re[c], xi = this.spectra.mixture.im[c];
        const sr = this.spectra[name].re[c], si = this.spectra[name].im[c];
        for (let t = 0; t < this.frames; t++) {
          this.mask(scheme, solved, s, c, t, mr, mi);
          for (let f = 0, i = t * this.bins; f < this.bins; f++, i++) {
            const er = sr[i] - (mr[f] * xr[i] - mi[f] * xi[i]);
            const ei = si[i] - (mr[f] * xi[i] + mi[f] * xr[i]);
            error[f] += er * er + ei * ei;
          }
        }
      }
      known[name] = perBand(scheme, (f) => error[f] / (this.energy[s] || 1));
      this._lost.set(scheme, known);
    }
    return known[name];
  }

  // The best mask of stem s in channel c and frame t, into mr and mi (F).
  mask(scheme, solved, s, c, t, mr, mi) {
    const at = 2 * ((s * this.channels + c) * this.frames + t), { ranges, weights } = scheme;
    mr.fill(0);
    mi.fill(0);
    for (let k = 0; k < ranges.length; k++) {
      const lo = ranges[k][0], hi = ranges[k][1];
      const vr = solved.values[k][at], vi = solved.values[k][at + 1];
      if (!weights) {
        mr.fill(vr, lo, hi);
        mi.fill(vi, lo, hi);
        continue;
      }
      const w = weights[k];
      for (let f = lo; f < hi; f++) {
        mr[f] += w[f - lo] * vr;
        mi[f] += w[f - lo] * vi;
      }
    }
  }

  // Sound, C Float32Arrays (L). kind "plain": the source; "allowed": what the scheme's oracle makes
  // of the mixture for stem `name`; "rest": the mixture without that. gains (F) or null.
  sound(kind, name, scheme, gains) {
    if (kind === "plain" && !gains) return this.sounds[name];
    const s = this.names.indexOf(name), solved = kind === "plain" ? null : this.solved(scheme);
    const source = this.spectra[kind === "plain" ? name : "mixture"], bins = this.bins;
    const mr = new Float64Array(bins).fill(1), mi = new Float64Array(bins);
    const g = Float64Array.from(gains || mr), sign = kind === "rest" ? -1 : 1, one = kind === "rest" ? 1 : 0;
    return this.stft.synthesise(this.channels, this.length, (t, re, im) => {
      for (let c = 0; c < this.channels; c++) {
        if (solved) this.mask(scheme, solved, s, c, t, mr, mi);
        const xr = source.re[c], xi = source.im[c], yr = re[c], yi = im[c];
        for (let f = 0, i = t * bins; f < bins; f++, i++) {
          const ar = g[f] * (one + sign * mr[f]), ai = g[f] * sign * mi[f];
          yr[f] = ar * xr[i] - ai * xi[i];
          yi[f] = ar * xi[i] + ai * xr[i];
        }
      }
    });
  }

  // Level of each bin and frame as bytes, (T * F): 255 is the loudest bin, 0 is 80 dB below.
  levels(kind, name, scheme) {
    const { bins, frames, channels } = this, levels = new Uint8Array(frames * bins);
    const solved = kind === "plain" ? null : this.solved(scheme), s = this.names.indexOf(name);
    const source = this.spectra[solved ? "mixture" : name], top = this.loudest(name);
    const mr = new Float64Array(bins), mi = new Float64Array(bins), power = new Float64Array(bins);
    for (let t = 0; t < frames; t++) {
      power.fill(0);
      for (let c = 0; c < channels; c++) {
        const xr = source.re[c], xi = source.im[c];
        if (solved) this.mask(scheme, solved, s, c, t, mr, mi);
        for (let f = 0, i = t * bins; f < bins; f++, i++) {
          const weight = solved ? mr[f] * mr[f] + mi[f] * mi[f] : 1;
          power[f] += weight * (xr[i] * xr[i] + xi[i] * xi[i]);
        }
      }
      for (let f = 0, i = t * bins; f < bins; f++, i++) {
        const db = 3.0103 * Math.log2(power[f] / top + 1e-12);
        levels[i] = Math.min(255, Math.max(0, 255 * (1 + db / 80)));
      }
    }
    return levels;
  }

  loudest(name) {
    this._loudest ||= {};
    if (!this._loudest[name]) {
      const { re, im } = this.spectra[name];
      let top = 1e-20;
      for (let i = 0; i < re[0].length; i++) {
        let power = 0;
        for (let c = 0; c < re.length; c++) power += re[c][i] ** 2 + im[c][i] ** 2;
        if (power > top) top = power;
      }
      this._loudest[name] = top;
    }
    return this._loudest[name];
  }

  // K bands by repeated best splits for the stems `wanted`: design.greedy of one excerpt.
  async greedy(k, wanted, rest = pause) {
    const stems = wanted.map((name) => this.names.indexOf(name));
    const best = new Map(), keyed = (lo, hi) => `${lo},${hi}`;
    best.set(keyed(0, this.bins), [0, this.bins, ...this._bestSplit(0, this.bins, stems)]);
    while (best.size < k) {
      let most = null;
      for (const entry of best.values()) if (!most || entry[2] > most[2]) most = entry;
      const [lo, hi, , cut] = most;
      best.delete(keyed(lo, hi));
      for (const [a, b] of [[lo, cut], [cut, hi]]) {
        best.set(keyed(a, b), [a, b, ...this._bestSplit(a, b, stems)]);
        await rest();
      }
    }
    return [...best.values()].map(([lo, hi]) => [lo, hi]).sort((a, b) => a[0] - b[0]);
  }

  _bestSplit(lo, hi, stems) {
    if (hi - lo < 2) return [-1, hi];
    const width = hi - lo, { bins, frames, channels } = this, mixture = this.spectra.mixture;
    const gain = new Float64Array(width - 1), power = new Float64Array(width);
    const rr = new Float64Array(width), ri = new Float64Array(width);
    for (let c = 0; c < channels; c++) {
      const xr = mixture.re[c], xi = mixture.im[c];
      for (let t = 0; t < frames; t++) {
        let sum = 0;
        for (let w = 0, i = t * bins + lo; w < width; w++, i++) {
          power[w] = sum += xr[i] * xr[i] + xi[i] * xi[i];
        }
        for (const s of stems) {
          if (!(this.energy[s] > 0)) continue;
          const { re, im } = this.spectra[this.names[s]], sr = re[c], si = im[c];
          let a = 0, b = 0;
          for (let w = 0, i = t * bins + lo; w < width; w++, i++) {
            rr[w] = a += xr[i] * sr[i] + xi[i] * si[i];
            ri[w] = b += xr[i] * si[i] - xi[i] * sr[i];
          }
          const scale = 1 / this.energy[s], whole = sum > 0 ? (a * a + b * b) / sum : 0;
          for (let w = 0; w < width - 1; w++) {
            const low = power[w], high = sum - power[w], ur = a - rr[w], ui = b - ri[w];
            gain[w] += scale * ((low > 0 ? (rr[w] * rr[w] + ri[w] * ri[w]) / low : 0)
              + (high > 0 ? (ur * ur + ui * ui) / high : 0) - whole);
          }
        }
      }
    }
    let cut = 0;
    for (let w = 1; w < width - 1; w++) if (gain[w] > gain[cut]) cut = w;
    return [gain[cut], lo + 1 + cut];
  }
}

// G v = r with G (K, K) banded: bands that share no bin have a zero. Cholesky without roots.
class BandedSystem {
  constructor(scheme, bins, columns) {
    const K = (this.count = scheme.ranges.length);
    this.scheme = scheme;
    this.reach = 1;
    const holders = Array.from({ length: bins }, () => []);
    scheme.ranges.forEach(([lo, hi], k) => {
      for (let f = lo; f < hi; f++) {
        const w = scheme.weights[k][f - lo];
        if (w !== 0) holders[f].push([k, w]);
      }
    });
    const places = [], products = [], starts = [0];
    for (const held of holders) {
      for (const [j] of held) for (const [k] of held) this.reach = Math.max(this.reach, k - j + 1);
    }
    for (const held of holders) {
      for (const [j, u] of held) {
        for (const [k, w] of held) {
          if (k < j) continue;
          places.push(j * this.reach + k - j);
          products.push(u * w);
        }
      }
      starts.push(places.length);
    }
    this.places = Int32Array.from(places);
    this.products = Float64Array.from(products);
    this.starts = Int32Array.from(starts);
    this.gram = new Float64Array(K * this.reach);
    this.rights = new Float64Array(K * columns);
    this.answer = new Float64Array(K * columns);
    this.columns = columns;
  }

  load(power) {
    const { places, products, starts, gram, count, reach } = this;
    gram.fill(0);
    for (let f = 0; f < power.length; f++) {
      const p = power[f];
      for (let i = starts[f]; i < starts[f + 1]; i++) gram[places[i]] += products[i] * p;
    }
    let trace = 0;
    for (let k = 0; k < count; k++) trace += gram[k * reach];
    this.level = trace / count;
    if (!(this.level > 1.2e-38)) this.level = 1;
    for (let i = 0; i < gram.length; i++) gram[i] /= this.level;
    for (let k = 0; k < count; k++) gram[k * reach] += 1e-14;
  }

  right(column, cross) {
    const { ranges, weights } = this.scheme, at = column * this.count;
    for (let k = 0; k < this.count; k++) {
      const [lo, hi] = ranges[k], w = weights[k];
      let sum = 0;
      for (let f = lo; f < hi; f++) sum += w[f - lo] * cross[f];
      this.rights[at + k] = sum;
    }
  }

  solve() {
    const { gram, count, reach, rights, answer, columns, level } = this;
    for (let j = 0; j < count; j++) { // G = L D L', L below the diagonal, in place
      const pivot = gram[j * reach];
      const last = Math.min(reach, count - j);
      if (!(pivot > 1e-15)) { // explained by the bands before: no number of its own
        for (let d = 0; d < last; d++) gram[j * reach + d] = 0;
        continue;
      }
      for (let d = 1; d < last; d++) {
        const factor = gram[j * reach + d] / pivot;
        if (factor === 0) continue;
        const row = (j + d) * reach;
        for (let e = d; e < last; e++) gram[row + e - d] -= factor * gram[j * reach + e];
      }
    }
    for (let column = 0; column < columns; column++) {
      const at = column * count;
      for (let j = 0; j < count; j++) answer[at + j] = rights[at + j] / level;
      for (let j = 0; j < count; j++) {
        const pivot = gram[j * reach];
        if (pivot === 0) continue;
        const last = Math.min(reach, count - j), y = answer[at + j] / pivot;
        for (let d = 1; d < last; d++) answer[at + j + d] -= gram[j * reach + d] * y;
      }
      for (let j = count - 1; j >= 0; j--) {
        const pivot = gram[j * reach];
        if (pivot === 0) {
          answer[at + j] = 0;
          continue;
        }
        const last = Math.min(reach, count - j);
        let sum = answer[at + j];
        for (let d = 1; d < last; d++) sum -= gram[j * reach + d] * answer[at + j + d];
        answer[at + j] = sum / pivot;
      }
    }
  }

  explained(column) {
    let sum = 0;
    for (let k = column * this.count; k < (column + 1) * this.count; k++) {
      sum += this.rights[k] * this.answer[k];
    }
    return sum;
  }
}

const pause = () => new Promise((done) => setTimeout(done, 0));
const total = (values) => values.reduce((sum, x) => sum + x, 0);
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

function summed(sounds) {
  return sounds[0].map((_, c) => {
    const sum = new Float32Array(sounds[0][c].length);
    for (const sound of sounds) for (let i = 0; i < sum.length; i++) sum[i] += sound[c][i];
    return sum;
  });
}

function perBand(scheme, value) {
  return scheme.ranges.map(([lo, hi], k) => {
    let sum = 0;
    for (let f = lo; f < hi; f++) sum += value(f) * (scheme.weights ? scheme.weights[k][f - lo] : 1);
    return sum;
  });
}

// Parameters and MACs of a preset with this scheme: both are linear in bands and bins.
function costOf(scheme, rule) {
  const K = scheme.ranges.length;
  const widths = scheme.ranges.reduce((sum, [lo, hi]) => sum + hi - lo, 0);
  const value = ([fixed, band, bin]) => fixed + band * K + bin * widths;
  return { parameters: value(rule.parameters), macs: value(rule.macs) };
}

// ---- Schemes ---------------------------------------------------------------------------------------

// "{f:g} Hz" with {f: 100}: the format marks that the package's words use.
function worded(template, values) {
  return template.replace(/\{(\w+)(?::([^}]*))?\}/g, (_, name, format) => {
    const value = values[name];
    if (!format || typeof value !== "number") return String(value);
    const digits = Number((format.match(/\d+/) || ["6"])[0]);
    return format.endsWith("f") ? value.toFixed(digits) : general(value, digits);
  });
}

const general = (x, digits = 6) => String(Number(x.toPrecision(digits)));

// The words of BandScheme.validate, "" for a sound scheme.
function faults(scheme, words) {
  const { name, ranges, weights, n_fft } = scheme, bins = n_fft / 2 + 1;
  const say = (key, values) => worded(words[key], { name, bins, n_fft, ...values });
  if (!ranges.length) return say("none", {});
  for (const [k, [lo, hi]] of ranges.entries()) {
    if (hi <= lo) return say("empty", { k, lo, hi });
    if (lo < 0 || hi > bins) return say("outside", { k, lo, hi });
  }
  if (ranges.some(([lo], k) => k && lo < ranges[k - 1][0])) return say("order", {});
  const cover = new Int32Array(bins);
  for (const [lo, hi] of ranges) for (let f = lo; f < hi; f++) cover[f]++;
  const missing = [], declared = new Set(scheme.uncovered || []);
  cover.forEach((count, f) => { if (!count) missing.push(f); });
  const first = missing.find((f) => !declared.has(f));
  if (first !== undefined) {
    const key = missing[0] >= ranges.at(-1)[1] ? "short" : "gap";
    return say(key, { covered: bins - missing.length, missing: missing.length, first });
  }
  if (!weights) {
    const k = ranges.findIndex(([lo], i) => i && lo < ranges[i - 1][1]);
    return k > 0 ? say("overlap", { before: k - 1, k, lo: ranges[k][0] }) : "";
  }
  const sums = new Float64Array(bins);
  ranges.forEach(([lo, hi], k) => { for (let f = lo; f < hi; f++) sums[f] += weights[k][f - lo]; });
  const bin = sums.findIndex((sum, f) => cover[f] && Math.abs(sum - 1) > 1e-5);
  return bin < 0 ? "" : say("sum", { total: sums[bin], bin });
}

// Own edges in Hz to bins, as bands.from_edges_hz: {cuts} or {wrong: words}.
function cutsOf(edges, sampleRate, nFft, words, name = "own") {
  const nyquist = sampleRate / 2, step = sampleRate / nFft;
  const say = (key, values) => ({ wrong: worded(words[key], { name, nyquist, step, ...values }) });
  for (const f of edges) if (!(f >= 0 && f <= nyquist)) return say("edge_outside", { f });
  for (let i = 1; i < edges.length; i++) {
    if (edges[i] <= edges[i - 1]) return say("edge_order", { low: edges[i - 1], high: edges[i] });
  }
  const inner = edges.filter((f) => f > 0 && f < nyquist), whole = [0, ...inner, nyquist];
  const cuts = [0, ...inner.map((f) => binAbove(f, step)), nFft / 2 + 1];
  for (let i = 1; i < cuts.length; i++) {
    if (cuts[i] <= cuts[i - 1]) return say("edge_no_bin", { low: whole[i - 1], high: whole[i] });
  }
  return { cuts, edges: whole };
}

function binAbove(f, step) {
  const x = f / step;
  return Math.abs(x - Math.round(x)) < 1e-6 ? Math.round(x) : Math.ceil(x);
}

function ownScheme(name, ranges, sampleRate, nFft, extra = {}) {
  const step = sampleRate / nFft, top = sampleRate / 2, last = ranges.at(-1);
  const edges_hz = [...ranges.map(([lo]) => lo * step), Math.min(top, (last ? last[1] : 0) * step)];
  return {
    name, ranges, sample_rate: sampleRate, n_fft: nFft, weights: null, edges_hz, rounding: "ceil",
    uncovered: [], source: "own", notes: [], own: true, ...extra,
  };
}

const rangesOf = (cuts) => cuts.slice(1).map((hi, i) => [cuts[i], hi]);

// The JSON of BandScheme.to_json. A float32 is written so that it comes back as the same.
function schemeJson(scheme) {
  const keys = ["name", "sample_rate", "n_fft", "ranges", "weights", "edges_hz", "rounding",
    "uncovered", "source", "notes"];
  const fields = Object.fromEntries(keys.map((key) => [key, scheme[key]]));
  if (scheme.weights) fields.weights = scheme.weights.map((row) => Array.from(row));
  return JSON.stringify(fields);
}

// Where a band is drawn and touched: its bins, or half way to its neighbours where bands overlap.
function spans(scheme) {
  if (!scheme.weights) return scheme.ranges;
  if (!scheme.spans) {
    const centres = scheme.ranges.map(([lo, hi], k) => {
      let sum = 0, weight = 0;
      for (let f = lo; f < hi; f++) {
        sum += (f + 0.5) * scheme.weights[k][f - lo];
        weight += scheme.weights[k][f - lo];
      }
      return sum / weight;
    });
    const cuts = [scheme.ranges[0][0],
      ...centres.slice(1).map((centre, k) => (centre + centres[k]) / 2), scheme.ranges.at(-1)[1]];
    scheme.spans = rangesOf(cuts);
  }
  return scheme.spans;
}

const hzText = (hz) => hz < 1000 ? `${Math.round(hz)} Hz` : `${general(hz / 1000, 3)} kHz`;

// A file or text with bands: {edges} in Hz, {ranges} in bins, {scheme}, {name} of a built-in one,
// {setting}, or {wrong: words}. Understands the package's JSON and CSV and the tables in the
// configurations of MSST (freqs_per_bands, num_bands) and BandIt (band_specs, n_bands).
function parseBands(text) {
  try {
    const content = JSON.parse(text);
    if (Array.isArray(content)) {
      const pairs = content.every(Array.isArray);
      return { edges: pairs ? [content[0][0], ...content.map((pair) => pair[1])] : content };
    }
    if (content.lanes) return { setting: content };
    if (content.ranges) return { scheme: content };
  } catch { /* no JSON: one of the others */ }
  const numbers = (part) => (part.match(/\d+(\.\d+)?/g) || []).map(Number);
  const table = text.match(/freqs_per_bands\s*:([^:]*?)(\n\s*[A-Za-z_]+\s*:|$)/);
  if (table) {
    const cuts = [0];
    for (const width of numbers(table[1].replace(/python\/\w+/g, ""))) cuts.push(cuts.at(-1) + width);
    return { ranges: rangesOf(cuts) };
  }
  const mel = text.match(/\bnum_bands\s*:\s*(\d+)/);
  if (mel) return { name: `mel-roformer${mel[1]}` };
  const kind = text.match(/\bband_(?:specs|type)\s*:\s*["']?([a-z-]+)/i);
  const count = text.match(/\bn_bands\s*:\s*(\d+)/);
  if (kind && count) return { name: `${kind[1].toLowerCase()}${count[1]}` };
  const lines = text.trim().split(/[\n;]+/).filter((line) => /^\s*[-+.\d]/.test(line));
  const rows = lines.map((line) => line.split(/[\s,]+/).filter(Boolean).map(Number));
  if (rows.length && rows.flat().every(Number.isFinite)) {
    const pairs = rows.length > 1 && rows.every((row) => row.length === 2);
    return { edges: pairs ? [rows[0][0], ...rows.map((row) => row[1])] : rows.flat() };
  }
  return { wrong: "no bands in this file: give edges in Hz, a band scheme as JSON, or a YAML with "
    + "freqs_per_bands, num_bands, or band_specs and n_bands" };
}

// ---- Sound -----------------------------------------------------------------------------------------

// One loop that goes on while what is heard is exchanged under it.
class Player {
  constructor(sampleRate) {
    this.sampleRate = sampleRate;
    this.playing = false;
    this.offset = 0;
  }

  _context() {
    if (!this.context) {
      const Context = window.AudioContext || window.webkitAudioContext;
      this.context = new Context({ sampleRate: this.sampleRate });
    }
    return this.context;
  }

  position() {
    if (!this.playing || !this.seconds) return this.offset;
    return (this.offset + this.context.currentTime - this.started) % this.seconds;
  }

  // channels: C Float32Arrays; gain: of all sounds alike.
  set(channels, gain) {
    this.channels = channels;
    this.gain = gain;
    this.seconds = channels[0].length / this.sampleRate;
    if (this.playing) this._swap();
  }

  _swap() {
    const context = this._context(), now = context.currentTime, at = this.position();
    const buffer = context.createBuffer(this.channels.length, this.channels[0].length, this.sampleRate);
    this.channels.forEach((x, c) => buffer.copyToChannel(x, c));
    const source = context.createBufferSource(), fader = context.createGain();
    source.buffer = buffer;
    source.loop = true;
    source.connect(fader).connect(context.destination);
    fader.gain.setValueAtTime(0, now);
    fader.gain.linearRampToValueAtTime(this.gain, now + 0.012);
    source.start(now, at);
    this._fade(now);
    this.source = source;
    this.fader = fader;
    this.offset = at;
    this.started = now;
  }

  _fade(now) {
    if (!this.source) return;
    this.fader.gain.cancelScheduledValues(now);
    this.fader.gain.setValueAtTime(this.fader.gain.value, now);
    this.fader.gain.linearRampToValueAtTime(0, now + 0.012);
    this.source.stop(now + 0.02);
    this.source = null;
  }

  play() {
    if (this.playing || !this.channels) return;
    this._context().resume();
    this.started = this.context.currentTime;
    this.playing = true;
    this._swap();
  }

  pause() {
    if (!this.playing) return;
    this.offset = this.position();
    this.playing = false;
    this._fade(this.context.currentTime);
  }

  seek(seconds) {
    this.offset = clamp(seconds, 0, Math.max(0, (this.seconds || 0) - 0.01));
    if (this.playing) {
      this.started = this.context.currentTime;
      this._swap();
    }
  }

  close() {
    this.pause();
    if (this.context) this.context.close();
  }
}

// Bytes of an encoded or raw stem to C Float32Arrays.
async function decoded(bytes, song) {
  if (song.encoding === "pcm16") {
    const values = new Int16Array(bytes.slice().buffer), length = values.length / song.channels;
    return Array.from({ length: song.channels }, (_, c) =>
      Float32Array.from(values.subarray(c * length, (c + 1) * length), (x) => x * song.scale));
  }
  return decodedFile(bytes.slice().buffer, song.sample_rate);
}

async function decodedFile(buffer, sampleRate) {
  const Context = window.OfflineAudioContext || window.webkitOfflineAudioContext;
  const sound = await new Context(2, 1, sampleRate).decodeAudioData(buffer);
  const count = Math.min(2, sound.numberOfChannels);
  return Array.from({ length: count }, (_, c) => sound.getChannelData(c).slice());
}

function bytesOf(value) {
  if (typeof value !== "string") return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  return Uint8Array.from(atob(value), (letter) => letter.charCodeAt(0));
}

// ---- The interface ---------------------------------------------------------------------------------

const LANES = [
  { letter: "A", colour: "#0072B2" }, { letter: "B", colour: "#B34700" },
  { letter: "C", colour: "#00734F" }, { letter: "D", colour: "#8F3F71" },
];
const AXES = {
  linear: { of: (hz) => hz, ticks: (top) => steps(0, top, top > 12000 ? 2000 : 1000) },
  log: { of: (hz) => Math.log(hz), low: 25,
    ticks: () => [30, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 40000] },
  mel: { of: (hz) => Math.log(1 + hz / 700),
    ticks: () => [0, 200, 500, 1000, 2000, 3000, 5000, 8000, 12000, 20000, 40000] },
  piano: { of: (hz) => Math.log(hz), low: 27.5, notes: true,
    ticks: () => steps(0, 10, 1).map((octave) => 440 * 2 ** (octave - 4 - 9 / 12)) },
};
const SNAPS = {
  bins: (hz) => hz,
  semitones: (hz) => 440 * 2 ** (Math.round(12 * Math.log2(Math.max(hz, 8) / 440)) / 12),
  ERB: (hz) => (10 ** (Math.round(21.4 * Math.log10(1 + 0.00437 * hz)) / 21.4) - 1) / 0.00437,
};
const HEAT = ["#000004", "#231151", "#5f187f", "#982d80", "#d3436e", "#f8765c", "#febb81", "#fcfdbf"];
const KEYS = [
  ["↑ ↓", "the band above, below (Home, End: lowest, highest)"], ["Enter", "hear this band alone"],
  ["M", "mute this band"], ["Esc", "all bands again"], ["Space", "play, pause"],
  ["1 … 7", "what is heard: mixture, stem, what A allows, B …, the rest"], ["O", "boost soft bands"],
  ["Shift + ↑ ↓", "move the upper edge"], ["Alt + ↑ ↓", "move the lower edge"],
  ["S", "split the band"], ["Delete", "merge it with the band above"], ["Z, Y", "undo, redo"],
];

function steps(low, high, step) {
  return Array.from({ length: Math.floor((high - low) / step) + 1 }, (_, i) => low + i * step);
}

const STYLE = `
.bsrnn-bands{--ink:#1b1b1b;--soft:#595959;--line:#c9c9c9;--tint:#f3f5f7;--accent:#0058a3;
  font:15px/1.45 system-ui,"Segoe UI",Roboto,Arial,sans-serif;color:var(--ink);background:#fff;
  max-width:1240px;box-sizing:border-box;padding:10px;text-align:left;position:relative}
.bsrnn-bands *{box-sizing:border-box}
.bsrnn-bands h3{font-size:15px;margin:0 0 6px;font-weight:650;color:var(--ink)}
.bsrnn-bands .row{display:flex;flex-wrap:wrap;gap:6px 12px;align-items:center;margin:0 0 8px}
.bsrnn-bands label{display:inline-flex;gap:6px;align-items:center;color:var(--ink);margin:0;
  font-size:14px}
.bsrnn-bands select,.bsrnn-bands button,.bsrnn-bands input,.bsrnn-bands textarea{font:inherit;
  font-size:14px;color:var(--ink);background:#fff;border:1px solid #8a8a8a;border-radius:6px;
  padding:4px 8px;min-height:32px;max-width:100%;margin:0}
.bsrnn-bands button{cursor:pointer;background:var(--tint)}
.bsrnn-bands button:hover{background:#e3e9ef}
.bsrnn-bands button[aria-pressed=true],.bsrnn-bands button.go{background:var(--accent);color:#fff;
  border-color:var(--accent)}
.bsrnn-bands button:disabled{color:#767676;cursor:default;background:#f7f7f7}
.bsrnn-bands :focus-visible{outline:3px solid #ff9d00;outline-offset:1px}
.bsrnn-bands .hear{display:flex;flex-wrap:wrap;gap:0;border:0;padding:0;margin:0;min-width:0}
.bsrnn-bands .hear label{border:1px solid #8a8a8a;padding:4px 10px;margin:0 -1px -1px 0;min-height:32px;
  cursor:pointer;background:#fff}
.bsrnn-bands .hear label:has(:checked){background:var(--accent);color:#fff}
.bsrnn-bands .hear label:has(:focus-visible){outline:3px solid #ff9d00;outline-offset:1px;z-index:1}
.bsrnn-bands .hear input{position:absolute;opacity:0;width:1px;min-height:1px;height:1px}
.bsrnn-bands .stage{position:relative;touch-action:none;user-select:none;-webkit-user-select:none}
.bsrnn-bands canvas{display:block;position:absolute;inset:0;width:100%;height:100%}
.bsrnn-bands .lane{position:absolute;pointer-events:none;border-radius:4px}
.bsrnn-bands .heads{display:flex;gap:10px;margin:0 0 4px}
.bsrnn-bands .heads>div{flex:1 1 0;min-width:0;display:flex;gap:4px;align-items:center}
.bsrnn-bands .heads select{flex:1 1 auto;min-width:0;font-weight:600}
.bsrnn-bands .heads button{padding:4px 9px}
.bsrnn-bands .chip{flex:none;display:inline-block;min-width:24px;text-align:center;border-radius:5px;
  color:#fff;font-weight:700;padding:3px 5px}
.bsrnn-bands .status{height:3em;overflow:hidden;font-size:14px;margin:6px 0 8px;color:var(--ink)}
.bsrnn-bands .status.wrong{color:#a30000;font-weight:600}
.bsrnn-bands .legend{display:flex;flex-wrap:wrap;gap:2px 16px;justify-content:flex-end;font-size:13px;
  color:var(--soft)}
.bsrnn-bands .legend i{display:inline-block;width:11px;height:11px;margin-right:5px;border-radius:2px}
.bsrnn-bands .scroll{overflow-x:auto;margin:0 0 10px}
.bsrnn-bands table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums;margin:0}
.bsrnn-bands th,.bsrnn-bands td{padding:3px 12px;border-bottom:1px solid var(--line);text-align:right;
  white-space:nowrap;background:none}
.bsrnn-bands th:first-child{text-align:left;font-weight:500;padding-left:2px}
.bsrnn-bands .below{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));
  gap:10px}
.bsrnn-bands .card{border:1px solid var(--line);border-radius:8px;padding:10px;min-width:0}
.bsrnn-bands textarea{width:100%;height:62px;resize:vertical}
.bsrnn-bands small,.bsrnn-bands .soft{color:var(--soft);font-size:13px}
.bsrnn-bands meter{width:100%;height:18px}
.bsrnn-bands .drop{outline:4px dashed var(--accent);outline-offset:-4px}
.bsrnn-bands dl{display:grid;grid-template-columns:auto 1fr;gap:2px 12px;margin:6px 0;font-size:14px}
.bsrnn-bands dt{font-weight:600;white-space:nowrap}.bsrnn-bands dd{margin:0}
.bsrnn-bands summary{cursor:pointer;font-size:14px}
.bsrnn-bands input[type=file]{display:none}
.bsrnn-bands .time{flex:1 1 120px;min-width:90px;max-width:260px;padding:0}
@media(min-width:760px){.bsrnn-bands .card.wide{grid-column:span 2}}
@media(max-width:560px){.bsrnn-bands{padding:6px}.bsrnn-bands .heads{gap:6px}
  .bsrnn-bands .heads select{padding:4px 2px}.bsrnn-bands .status{height:4.4em}
  .bsrnn-bands .legend{font-size:12px;gap:2px 8px}.bsrnn-bands .heads button{padding:4px 6px}.bsrnn-bands th,.bsrnn-bands td{padding:3px 7px}}
`;

// h("button", {onclick: f, class: "go"}, "Play") -> element
function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

let mounted = 0; // distinct ids on one page

class Instrument {
  constructor(root, spec, audio, host = {}) {
    Object.assign(this, { root, spec, audio, host });
    this.id = `bands${++mounted}`;
    this.song = spec.song;
    this.player = new Player(this.song.sample_rate);
    this.excerpts = new Map(); // n_fft -> Excerpt
    this.images = new Map();
    this.past = [];
    this.future = [];
    this.solo = new Set();
    this.muted = new Set();
    this.measured = { drawn_ms: [], heard_ms: [] };
    this.state = {
      lanes: ["v7", "bs-roformer"], active: 0, stem: this.song.stems.at(-1), show: "stem",
      axis: "log", n_fft: spec.grids[0].n_fft, preset: Object.keys(spec.grids[0].cost)[0],
      hear: "stem", snap: "bins", boost: false, bands: 24, ...spec.state,
    };
    this.ready = this._start();
  }

  async _start() {
    this._build();
    this.say("Reading the sound …");
    const stems = {};
    for (const name of this.song.stems) {
      stems[name] = await decoded(bytesOf(this.audio[name]), this.song);
    }
    const samples = Math.min(this.song.samples, ...Object.values(stems).map((x) => x[0].length));
    for (const name of Object.keys(stems)) stems[name] = stems[name].map((x) => x.slice(0, samples));
    this.sources = { stems, mixture: null, name: this.song.name };
    this.lanes = [];
    this.restore(this.state);
    const linked = !this.host.quiet && location.hash.match(/#bands=([\w-]+)/);
    if (linked) this.restore(JSON.parse(fromBase64(linked[1])));
    this.say(`${this.song.name}: click a band to hear it, shift-click to mute it, drag an edge to move it.`);
    return this;
  }

  // ---- What is known now

  get grid() { return this.spec.grids.find((grid) => grid.n_fft === this.state.n_fft); }
  get rate() { return this.song.sample_rate; }
  get step() { return this.rate / this.state.n_fft; }
  get active() { return this.lanes[this.state.active]; }
  get stems() { return Object.keys(this.sources.stems); }

  get excerpt() {
    const { n_fft } = this.state;
    if (!this.excerpts.has(n_fft)) {
      this.excerpts.clear(); // one at a time: 40 MB
      const { stems, mixture } = this.sources;
      this.excerpts.set(n_fft, new Excerpt(stems, mixture, this.rate, n_fft));
    }
    return this.excerpts.get(n_fft);
  }

  builtIn(name) {
    this._made ||= new Map();
    const key = `${name} ${this.state.n_fft}`;
    if (!this._made.has(key)) {
      const row = this.grid.schemes.find((scheme) => scheme.name === name);
      if (!row) return null;
      const { cuts, weights, ...known } = row, ranges = row.ranges || rangesOf(cuts);
      const scheme = { ...ownScheme(name, ranges, this.rate, this.state.n_fft), ...known, own: false };
      if (weights) {
        const flat = new Float32Array(bytesOf(weights).buffer);
        let at = 0;
        scheme.weights = ranges.map(([lo, hi]) => flat.subarray(at, (at += hi - lo)));
      }
      this._made.set(key, scheme);
    }
    return this._made.get(key);
  }

  // A scheme of a setting: a name, {name, cuts}, or the JSON of a BandScheme.
  schemeOf(given) {
    const { n_fft } = this.state;
    if (typeof given === "string") {
      const scheme = this.builtIn(given);
      if (!scheme) throw new Error(`no band scheme ${given} at n_fft ${n_fft}: choose one of the list`);
      return scheme;
    }
    if (given.cuts && given.n_fft === n_fft) {
      return ownScheme(given.name, given.ranges || rangesOf(given.cuts), this.rate, n_fft);
    }
    const ranges = given.ranges || rangesOf(given.cuts);
    if (given.n_fft === n_fft && (given.sample_rate || this.rate) === this.rate) {
      const weights = given.weights && given.weights.map((row) => Float32Array.from(row));
      return { ...ownScheme(given.name, ranges, this.rate, n_fft), ...given, weights };
    }
    if (given.weights) throw new Error(`${given.name}: own overlapping bands have no rule for another n_fft`);
    const hz = given.edges_hz || given.cuts.map((cut) => (cut * this.rate) / given.n_fft);
    const cuts = [0];
    for (const f of hz.slice(1, -1)) {
      const bin = f < this.rate / 2 ? binAbove(f, this.step) : 0;
      if (bin > cuts.at(-1) && bin < n_fft / 2 + 1) cuts.push(bin);
    }
    return ownScheme(given.name, rangesOf([...cuts, n_fft / 2 + 1]), this.rate, n_fft);
  }

  numbers(scheme) {
    const wrong = faults(scheme, this.spec.words);
    const bounds = wrong ? null : this.excerpt.bounds(scheme);
    const cost = costOf(scheme, this.grid.cost[this.state.preset]);
    return { wrong, bounds, ...cost };
  }

  // ---- Settings: restore, keep, undo

  setting() {
    const lanes = this.lanes.map(({ scheme }) => {
      if (!scheme.own) return scheme.name;
      if (scheme.weights) return JSON.parse(schemeJson(scheme));
      const { name, ranges, n_fft } = scheme, cuts = [ranges[0][0], ...ranges.map(([, hi]) => hi)];
      const touching = ranges.every(([lo], k) => lo === cuts[k]);
      return touching ? { name, cuts, n_fft } : { name, ranges, n_fft };
    });
    const { active, stem, show, axis, n_fft, preset, hear, snap, boost, bands } = this.state;
    return {
      lanes, active, stem, show, axis, n_fft, preset, hear, snap, boost, bands,
      selected: this.lanes.map((lane) => lane.band), solo: [...this.solo], muted: [...this.muted],
    };
  }

  restore(setting) {
    const state = { ...this.state, ...setting };
    if (!this.spec.grids.some((grid) => grid.n_fft === state.n_fft)) state.n_fft = this.spec.grids[0].n_fft;
    if (!this.sources.stems[state.stem]) state.stem = this.stems.at(-1) || "mixture";
    if (!AXES[state.axis]) state.axis = "log";
    if (!this.grid.cost[state.preset]) state.preset = Object.keys(this.grid.cost)[0];
    const before = this.state;
    this.state = state;
    try {
      const lanes = state.lanes.slice(0, 4).map((given, i) => ({
        scheme: this.schemeOf(given), band: (setting.selected || [])[i] ?? this._middle(this.schemeOf(given)),
      }));
      if (!lanes.length) throw new Error("this setting has no bands");
      this.lanes = lanes;
    } catch (error) {
      this.state = before;
      this.say(error.message, true);
      return;
    }
    state.active = clamp(state.active, 0, this.lanes.length - 1);
    this.solo = new Set(setting.solo);
    this.muted = new Set(setting.muted);
    this._controls();
    this.changed(["lanes", "sound"]);
    this.tell(state.active, this.active.band);
  }

  _middle(scheme) {
    const cut = spans(scheme).findIndex(([, hi]) => hi * this.step > 440);
    return Math.max(0, cut);
  }

  remember() {
    this.past.push(this.lanes.map((lane) => lane.scheme));
    if (this.past.length > 200) this.past.shift();
    this.future = [];
  }

  undo(from = this.past, to = this.future) {
    if (!from.length) return this.say("nothing to undo");
    to.push(this.lanes.map((lane) => lane.scheme));
    this.lanes = from.pop().map((scheme, i) => {
      const band = clamp((this.lanes[i] || { band: 0 }).band, 0, scheme.ranges.length - 1);
      return { scheme, band };
    });
    this.state.active = clamp(this.state.active, 0, this.lanes.length - 1);
    this._controls();
    return this.changed(["lanes", "sound"]);
  }

  put(scheme, lane = this.state.active, band = this.lanes[lane].band) {
    this.lanes[lane] = { scheme, band: clamp(band, 0, scheme.ranges.length - 1) };
    if (lane === this.state.active) {
      const known = (k) => k < scheme.ranges.length;
      this.solo = new Set([...this.solo].filter(known));
      this.muted = new Set([...this.muted].filter(known));
    }
    this.changed(["lanes", ...(this._isHeard(lane) ? ["sound"] : [])]);
  }

  _isHeard(lane) {
    const { hear, active } = this.state;
    const filtered = this.solo.size || this.muted.size;
    return hear === LANES[lane].letter || (lane === active && (hear === "rest" || filtered));
  }

  // The scheme of a lane as one that can be edited: own, without overlap.
  editable(lane = this.state.active) {
    const { scheme } = this.lanes[lane];
    if (scheme.own && !scheme.weights) return scheme;
    let ranges = scheme.ranges;
    if (scheme.weights) {
      const cuts = new Set([0, this.grid.n_fft / 2 + 1]);
      for (const [, hi] of spans(scheme).slice(0, -1)) cuts.add(Math.round(hi));
      ranges = rangesOf([...cuts].sort((a, b) => a - b));
      this.say(`${scheme.name} overlaps: its bands are cut half way to their neighbours now.`);
    }
    return ownScheme(`${scheme.name}-own`, ranges, this.rate, this.state.n_fft);
  }

  // ---- Design: each returns nothing and leaves an own scheme in the active lane

  moveEdge(k, bin, lane = this.state.active) { // edge k lies below band k
    const scheme = this.editable(lane), ranges = scheme.ranges.map((range) => [...range]);
    if (k < 1 || k >= ranges.length) return;
    if (this.free.checked) ranges[k - 1][1] = clamp(bin, 0, this.excerpt.bins);
    else {
      const at = clamp(bin, ranges[k - 1][0] + 1, ranges[k][1] - 1);
      if (at === ranges[k][0] && at === ranges[k - 1][1] && scheme === this.lanes[lane].scheme) return;
      ranges[k - 1][1] = ranges[k][0] = at;
    }
    this.put(ownScheme(scheme.name, ranges, this.rate, scheme.n_fft), lane);
  }

  nudge(k, direction) {
    const { scheme } = this.active;
    if (k < 1 || k >= scheme.ranges.length) return this.say("this edge is the end of the spectrum", true);
    const from = this.editable().ranges[k][0];
    let bin = from;
    for (let i = 1; i < this.excerpt.bins && bin === from; i++) {
      bin = this.snapped((from + direction * i) * this.step);
      if (Math.sign(bin - from) !== direction) bin = from;
    }
    this.remember();
    this.moveEdge(k, bin);
    return this.tell(this.state.active, this.active.band);
  }

  snapped(hz) {
    const { snap } = this.state, lane = this.lanes[LANES.findIndex(({ letter }) => letter === snap)];
    if (lane) {
      const edges = spans(lane.scheme).slice(1).map(([lo]) => lo);
      const bin = hz / this.step;
      return Math.round(edges.reduce((a, b) => (Math.abs(b - bin) < Math.abs(a - bin) ? b : a), edges[0] ?? bin));
    }
    if (!SNAPS[snap] || snap === "bins") return Math.round(hz / this.step);
    return binAbove(SNAPS[snap](hz), this.step);
  }

  split(bin, k = this.active.band) {
    const scheme = this.editable(), [lo, hi] = scheme.ranges[k] || [0, 0];
    if (hi - lo < 2) return this.say(`band ${k} has one bin: choose a wider one to split`, true);
    const low = Math.max(lo, 0.5), middle = Math.round(Math.sqrt(low * hi));
    const cut = clamp(bin === undefined ? middle : bin, lo + 1, hi - 1);
    const ranges = scheme.ranges.flatMap((range, i) => (i === k ? [[lo, cut], [cut, hi]] : [range]));
    this.remember();
    this.put(ownScheme(scheme.name, ranges, this.rate, scheme.n_fft), this.state.active, k);
    return this.tell(this.state.active, k);
  }

  merge(k = this.active.band) { // with the band above; the highest with the one below
    const scheme = this.editable(), count = scheme.ranges.length;
    if (count < 2) return this.say("one band is left: it has no neighbour", true);
    const low = Math.min(k, count - 2);
    const ranges = scheme.ranges.flatMap((range, i) =>
      i === low ? [[range[0], scheme.ranges[i + 1][1]]] : i === low + 1 ? [] : [range]);
    this.remember();
    this.put(ownScheme(scheme.name, ranges, this.rate, scheme.n_fft), this.state.active, low);
    return this.tell(this.state.active, low);
  }

  async startFrom(kind, count = this.state.bands) {
    let ranges;
    if (kind === "greedy") {
      if (!this.stems.length) return this.say("greedy needs stems: open a song with its stems", true);
      this.say(`greedy looks for ${count} bands …`);
      ranges = await this.excerpt.greedy(count, [this.state.stem]);
    } else {
      const cuts = this.grid.starts[kind][count];
      if (!cuts) return this.say(`${kind} has no ${count} bands at n_fft ${this.state.n_fft}: choose fewer`, true);
      ranges = rangesOf(cuts);
    }
    this.remember();
    this.put(ownScheme(`${kind}${count}-own`, ranges, this.rate, this.state.n_fft));
    return this.say(`${LANES[this.state.active].letter} begins with ${ranges.length} bands: drag, split, merge.`);
  }

  setEdges(text) {
    const edges = text.split(/[\s,;]+/).filter(Boolean).map(Number);
    if (!edges.length || !edges.every(Number.isFinite)) return this.say("give edges in Hz, such as 100, 200, 400", true);
    return this.open({ edges });
  }

  // What `parseBands` made of a file.
  open(parsed, name = "own") {
    if (parsed.wrong) return this.say(parsed.wrong, true);
    if (parsed.setting) {
      this.restore(parsed.setting);
      return this.say("the setting is restored");
    }
    try {
      let scheme;
      if (parsed.edges) {
        const made = cutsOf(parsed.edges, this.rate, this.state.n_fft, this.spec.words, name);
        if (made.wrong) return this.say(made.wrong, true);
        scheme = ownScheme(name, rangesOf(made.cuts), this.rate, this.state.n_fft, { edges_hz: made.edges });
      } else if (parsed.ranges) {
        scheme = ownScheme(name, parsed.ranges, this.rate, this.state.n_fft);
      } else scheme = this.schemeOf(parsed.scheme ? { own: true, ...parsed.scheme } : parsed.name);
      const wrong = faults(scheme, this.spec.words);
      if (wrong) return this.say(wrong, true);
      this.remember();
      this.put(scheme);
      return this.say(`${scheme.name}: ${scheme.ranges.length} bands are in ${LANES[this.state.active].letter} now`);
    } catch (error) {
      return this.say(error.message, true);
    }
  }

  // ---- The game: the best K bands by hand, against the greedy designer

  async play() {
    const count = this.state.bands, { stem } = this.state;
    if (!this.stems.includes(stem)) return this.say("the game needs a stem: open a song with its stems", true);
    this.say(`the other side looks for its ${count} bands …`);
    const ranges = await this.excerpt.greedy(count, [stem]);
    const greedy = ownScheme(`greedy${count}`, ranges, this.rate, this.state.n_fft);
    const equal = ownScheme(`equal${count}-own`, rangesOf(this.grid.starts.equal[count]), this.rate, this.state.n_fft);
    const s = this.stems.indexOf(stem), of = (scheme) => this.excerpt.bounds(scheme)[s];
    this.game = { count, stem, greedy, from: of(equal), to: of(greedy), n_fft: this.state.n_fft };
    this.remember();
    this.put(equal);
    return this.say(`Your turn: at most ${count} bands for ${stem}. Equal bands score 0, greedy 100.`);
  }

  _score() {
    const { game } = this;
    if (!game || game.n_fft !== this.state.n_fft || !this.stems.includes(game.stem)) return null;
    const { scheme } = this.active, { bounds } = this.numbers(scheme);
    if (!bounds) return { words: "no score while the bands are not valid", value: 0 };
    const db = bounds[this.stems.indexOf(game.stem)];
    const value = Math.round((100 * (db - game.from)) / (game.to - game.from));
    const many = scheme.ranges.length > game.count;
    const words = many ? `${scheme.ranges.length} bands: at most ${game.count} count`
      : `${value} points: yours ${db.toFixed(2)} dB, equal ${game.from.toFixed(2)}, greedy ${game.to.toFixed(2)} dB on ${game.stem}`;
    return { words, value: many ? 0 : value };
  }

  // ---- Keep

  _kept(make) {
    const { scheme } = this.active, wrong = faults(scheme, this.spec.words);
    if (wrong) return this.say(`not saved. ${wrong}`, true);
    const name = this.name.value.trim() || "own";
    return make({ ...scheme, name: scheme.own ? name : scheme.name }, name);
  }

  _download(name, text, type) {
    const address = URL.createObjectURL(new Blob([text], { type }));
    const link = h("a", { href: address, download: name });
    this.root.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
    this.say(`${name} is saved`);
  }

  async _copy(text, what) {
    try {
      await navigator.clipboard.writeText(text);
      this.say(`copied: ${what}`);
    } catch { // no right to the clipboard: the text is there to be copied by hand
      this.edges.value = text;
      this.edges.select();
      this.say(`${what}: selected in the box of edges, copy it from there`);
    }
  }

  link() {
    return `${location.href.split("#")[0]}#bands=${toBase64(JSON.stringify(this.setting()))}`;
  }

  // ---- Own sound

  async openFiles(files) {
    const sounds = {};
    for (const file of files) {
      if (/\.(json|csv|ya?ml|txt)$/i.test(file.name)) {
        this.open(parseBands(await file.text()), file.name.replace(/\.\w+$/, ""));
        continue;
      }
      try {
        sounds[file.name.replace(/\.\w+$/, "")] = await decodedFile(await file.arrayBuffer(), this.rate);
      } catch {
        return this.say(`${file.name}: no sound and no bands that this browser can read`, true);
      }
    }
    const names = Object.keys(sounds);
    if (!names.length) return null;
    const length = Math.min(...names.map((name) => sounds[name][0].length));
    const want = Math.round(6 * this.rate), first = clamp(Math.round(this.from.value * this.rate), 0, Math.max(0, length - want));
    for (const name of names) sounds[name] = sounds[name].map((x) => x.slice(first, first + want));
    const channels = Math.min(...names.map((name) => sounds[name].length));
    for (const name of names) sounds[name] = sounds[name].slice(0, channels);
    const alone = names.length === 1;
    this.sources = { stems: alone ? {} : sounds, mixture: alone ? sounds[names[0]] : null, name: names.join(", ") };
    this.excerpts.clear();
    this.images.clear();
    this.game = null;
    this.state.stem = alone ? "mixture" : names.at(-1);
    this.state.hear = alone ? "mixture" : "stem";
    this._controls();
    this.changed(["lanes", "sound"]);
    return this.say(`${names.join(", ")}: 6 s from ${(first / this.rate).toFixed(1)} s on; they stay on this machine.`
      + (alone ? " One file has no stems: no oracle." : ""));
  }

  // ---- Changes: drawn in the next frame, then heard

  changed(what, since = performance.now()) {
    this._pending ||= { what: new Set(), since };
    for (const part of what) this._pending.what.add(part);
    if (!this._frame) this._frame = requestAnimationFrame(() => this._update());
  }

  _update() {
    const { what, since } = this._pending;
    this._frame = this._pending = null;
    if (!this.root.isConnected || !this.lanes.length) return;
    this.draw();
    this._write();
    this._sync();
    this.measured.drawn_ms.push(performance.now() - since);
    if (what.has("sound")) this._hearSoon(since);
    for (const { scheme } of this.lanes) this._solve(scheme);
  }

  async _solve(scheme) {
    if (!scheme.weights || !this.stems.length || this.excerpt.solved(scheme)) return;
    if (this._solving) return; // one after the other; the update below comes back for the next
    this._solving = true;
    await this.excerpt.solve(scheme);
    this._solving = false;
    this.changed(["lanes", "sound"]);
  }

  _hearSoon(since) {
    this._heardSince ??= since;
    clearTimeout(this._timer);
    const wait = this._dragging ? 60 : 0;
    this._timer = setTimeout(() => this.hear(), wait);
  }

  hear() {
    const { hear, stem } = this.state, { excerpt } = this, since = this._heardSince;
    this._heardSince = null;
    const lane = this.lanes[LANES.findIndex(({ letter }) => letter === hear)];
    const masked = (lane || hear === "rest") && excerpt.names.includes(stem);
    const scheme = (lane || this.active).scheme, kind = !masked ? "plain" : lane ? "allowed" : "rest";
    if (kind !== "plain" && (faults(scheme, this.spec.words) || !excerpt.solved(scheme))) return;
    const name = kind === "plain" ? (hear === "mixture" ? "mixture" : stem) : stem;
    const gains = this.gains();
    const sound = excerpt.sound(kind, name, scheme, gains);
    this.player.set(sound, this._gain(sound));
    if (since !== null && since !== undefined) {
      const context = this.player.context;
      const latency = this.player.playing && context ? 1000 * (context.baseLatency || 0) : 0;
      this.measured.heard_ms.push(performance.now() - since + latency);
    }
  }

  // Weight of each bin (F) by the bands that are on, null if all are.
  gains() {
    if (!this.solo.size && !this.muted.size) return null;
    const { scheme } = this.active, gains = new Float32Array(this.excerpt.bins);
    scheme.ranges.forEach(([lo, hi], k) => {
      if (!this.isOn(k)) return;
      for (let f = lo; f < Math.min(hi, gains.length); f++) gains[f] += scheme.weights ? scheme.weights[k][f - lo] : 1;
    });
    return gains;
  }

  isOn(k) {
    return this.solo.size ? this.solo.has(k) : !this.muted.has(k);
  }

  // One gain for all that can be heard; the boost lifts what plays to the level of the mixture.
  _gain(sound) {
    const { mixture } = this.excerpt.sounds;
    if (this._level?.of !== mixture) {
      this._level = { of: mixture, peak: peak(mixture), rms: rms(mixture) };
    }
    const common = 0.89 / (this._level.peak || 1);
    this.boosted = 1;
    if (this.state.boost) {
      const wanted = this._level.rms / (rms(sound) || 1), most = 0.89 / (peak(sound) * common || 1);
      this.boosted = clamp(Math.min(wanted, most), 1, 200);
    }
    this.boostWords.textContent = this.state.boost ? `+${(20 * Math.log10(this.boosted)).toFixed(0)} dB` : "";
    return common * this.boosted;
  }

  toggle(k, what = "solo") {
    const { solo, muted } = this;
    if (what === "mute") {
      if (!muted.delete(k)) muted.add(k);
      solo.clear();
    } else if (solo.size === 1 && solo.has(k)) solo.clear();
    else {
      solo.clear();
      solo.add(k);
      if (!this.player.playing) this._playSoon = true;
    }
    this.changed(["sound"]);
    this.tell(this.state.active, k);
    if (this._playSoon) this.playPause(true);
    this._playSoon = false;
  }

  allBands() {
    this.solo.clear();
    this.muted.clear();
    this.changed(["sound"]);
    this.say("all bands");
  }

  playPause(on = !this.player.playing) {
    if (!this.player.channels) this.hear();
    if (on) this.player.play();
    else this.player.pause();
    this.playButton.textContent = on ? "❚❚ Pause" : "▶ Play";
    this.playButton.setAttribute("aria-pressed", on);
    if (on) this._animate();
  }

  activate(lane, since) {
    if (lane === this.state.active) return;
    this.state.active = lane;
    this.solo.clear();
    this.muted.clear();
    this._controls();
    this.changed(["sound"], since);
  }

  // ---- Words

  say(words, wrong = false) {
    this.status.textContent = words;
    this.status.classList.toggle("wrong", wrong);
  }

  describe(lane, k) {
    const { scheme } = this.lanes[lane], { stem, preset } = this.state;
    const [lo, hi] = scheme.ranges[k], low = lo * this.step, high = Math.min(hi * this.step, this.rate / 2);
    const share = this.excerpt.share(scheme, stem), lost = faults(scheme, this.spec.words) ? null : this.excerpt.lost(scheme, stem);
    const [, band, bin] = this.grid.cost[preset].parameters;
    const percent = (x) => `${(100 * x).toFixed(1)} %`;
    const part = lost ? `, the oracle misses ${percent(lost[k])}` : "";
    return `${LANES[lane].letter} ${scheme.name}, band ${k} of ${scheme.ranges.length}: ${hzText(low)} to ${hzText(high)}, `
      + `${hi - lo} bins, ${(12 * Math.log2(high / Math.max(low, this.step / 2))).toFixed(1)} semitones; `
      + `${percent(share[k])} of ${stem}${part}; ${Math.round(band + bin * (hi - lo)).toLocaleString("en")} parameters of ${preset}`
      + (this.solo.has(k) && lane === this.state.active ? "; heard alone" : "")
      + (this.muted.has(k) && lane === this.state.active ? "; muted" : "");
  }

  tell(lane, k) {
    if (k >= this.lanes[lane].scheme.ranges.length) return;
    const wrong = faults(this.lanes[lane].scheme, this.spec.words);
    this.say(wrong || this.describe(lane, k), !!wrong);
  }

  // Everything outside the canvas that follows the schemes: table, edges, score, screen reader.
  _write() {
    const numbers = this.lanes.map(({ scheme }) => this.numbers(scheme));
    const cell = (value, i) => h("td", {}, value);
    const row = (title, values) => h("tr", {}, h("th", { scope: "row" }, title), ...values.map(cell));
    const widths = ({ ranges }) => ranges.map(([lo, hi]) => hi - lo);
    const head = h("tr", {}, h("th", { scope: "col" }, "scheme"), ...this.lanes.map(({ scheme }, i) => {
      const th = h("th", { scope: "col" }, `${LANES[i].letter}: ${scheme.name}`);
      th.style.color = LANES[i].colour;
      return th;
    }));
    const schemes = this.lanes.map((lane) => lane.scheme);
    const rows = [
      row("bands", schemes.map(({ ranges }) => String(ranges.length))),
      row("bins per band", schemes.map((scheme) => `${Math.min(...widths(scheme))}–${Math.max(...widths(scheme))}`)),
      row(`parameters of ${this.state.preset}`, numbers.map((n) => `${(n.parameters / 1e6).toFixed(3)} M`)),
      row(`GMAC of ${this.state.preset}, ${this.grid.seconds} s`, numbers.map((n) => (n.macs / 1e9).toFixed(2))),
      ...this.stems.map((stem, s) => row(`bound on ${stem}`, numbers.map((n) =>
        n.wrong ? "–" : !n.bounds ? "…" : Number.isNaN(n.bounds[s]) ? "silent" : `${n.bounds[s].toFixed(2)} dB`))),
    ];
    this.table.replaceChildren(h("thead", {}, head), h("tbody", {}, ...rows));
    const wrong = numbers[this.state.active].wrong;
    this.valid.textContent = wrong || `${schemes[this.state.active].name} is valid: every bin has its band.`;
    this.valid.style.color = wrong ? "#a30000" : "#00622f";
    if (document.activeElement !== this.edges) {
      const { scheme } = this.active;
      this.edges.value = scheme.weights ? "" : scheme.ranges.slice(1).map(([lo]) => general(lo * this.step, 5)).join(", ");
      this.edges.placeholder = scheme.weights ? "overlapping bands have no edges: drag one to cut them" : "100, 200, 400, 800";
    }
    this.undoButton.disabled = !this.past.length;
    this.redoButton.disabled = !this.future.length;
    const score = this._score();
    this.score.value = clamp(score ? score.value : 0, 0, 100);
    this.scoreWords.textContent = score ? score.words : "Not begun.";
    this.laneBoxes.forEach((box, i) => {
      if (!this.lanes[i]) return;
      const { scheme, band } = this.lanes[i];
      box.setAttribute("aria-valuemax", scheme.ranges.length - 1);
      box.setAttribute("aria-valuenow", band);
      box.setAttribute("aria-valuetext", this.describe(i, band));
    });
  }

  _sync() {
    if (this.host.keep) this.host.keep(this.setting(), schemeJson(this.active.scheme));
  }

  // ---- The page: made once; what depends on lanes and stems is renewed by `_controls`

  _build() {
    const button = (words, onclick, extra = {}) => h("button", { type: "button", onclick, ...extra }, words);
    const select = (key, options) => {
      const element = h("select", {
        onchange: () => this._choose(key, element.value),
      }, ...options.map((value) => h("option", { value }, String(value))));
      return element;
    };
    const { spec } = this;
    this.root.classList.add("bsrnn-bands");
    this.root.setAttribute("data-lm-suppress-shortcuts", "true"); // the keys are ours, not Jupyter's
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "band instrument");
    this.playButton = button("▶ Play", () => this.playPause(), { class: "go", "aria-pressed": "false" });
    this.time = h("input", {
      type: "range", class: "time", min: 0, max: this.song.samples / this.rate, step: 0.01, value: 0,
      "aria-label": "position in seconds", oninput: () => { this.player.seek(Number(this.time.value)); this._overlay(); },
    });
    this.hearing = h("fieldset", { class: "hear", "aria-label": "what is heard" });
    this.boostButton = button("Boost", () => this._choose("boost", !this.state.boost), {
      "aria-pressed": "false", title: "bring what is heard to the level of the mixture (O)",
    });
    this.boostWords = h("span", { class: "soft" });
    this.muteButton = button("Mute band", () => this.toggle(this.active.band, "mute"), {
      title: "mute the chosen band, or let it sound again (M)", // a finger has no Shift
    });
    this.allButton = button("All bands", () => this.allBands());
    this.choices = {
      stem: select("stem", []),
      show: select("show", ["mixture", "stem", "allowed"]),
      axis: select("axis", Object.keys(AXES)),
      n_fft: select("n_fft", spec.grids.map((grid) => grid.n_fft)),
      preset: select("preset", Object.keys(spec.grids[0].cost)),
      snap: select("snap", Object.keys(SNAPS)),
    };
    const words = ["the mixture", "the stem", "what each scheme allows"];
    [...this.choices.show.options].forEach((option, i) => { option.textContent = words[i]; });
    const labelled = (title, control) => h("label", {}, title, control);
    const { stem, show, axis, n_fft, preset, snap } = this.choices;
    this.addButton = button("Add a scheme", () => this.addLane());
    this.heads = h("div", { class: "heads" });
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.cursor = h("canvas", { "aria-hidden": "true" });
    this.laneBoxes = LANES.map(({ letter }, lane) => h("div", {
      class: "lane", role: "slider", tabindex: "0", "aria-label": `bands of scheme ${letter}`,
      "aria-orientation": "vertical", "aria-valuemin": "0",
      onfocus: () => this.activate(lane), onkeydown: (event) => this._laneKey(event, lane),
    }));
    this.stage = h("div", { class: "stage" }, this.canvas, this.cursor, ...this.laneBoxes);
    const key = (colour, words) => h("span", {}, h("i", { style: `background:${colour}` }), words);
    const legend = h("div", { class: "legend", "aria-hidden": "true" }, key("#9db7cf", "energy of the stem"),
      key("#c1121f", "of it missed by the oracle"), key("#6b6b6b", "parameters of the band"));
    this.status = h("div", { class: "status", role: "status", "aria-live": "polite" });
    this.table = h("table", { "aria-label": "numbers of the schemes" });

    this.kind = h("select", {}, ...["equal", "octave", "bark", "greedy"].map((kind) => h("option", { value: kind }, kind)));
    this.count = h("input", {
      type: "number", min: 2, max: 64, value: this.state.bands, style: "width:5em",
      onchange: () => {
        this.state.bands = clamp(Math.round(Number(this.count.value)) || 24, 2, 64);
        this.count.value = this.state.bands;
      },
    });
    this.free = h("input", { type: "checkbox" });
    this.undoButton = button("Undo", () => this.undo());
    this.redoButton = button("Redo", () => this.undo(this.future, this.past));
    this.edges = h("textarea", { spellcheck: "false", "aria-label": "own edges in Hz" });
    this.valid = h("p", { style: "margin:6px 0;font-size:14px;min-height:2.9em" });
    const design = h("section", { class: "card" }, h("h3", {}, "Design"),
      h("div", { class: "row" }, labelled("start from", this.kind), labelled("bands", this.count),
        button("Start", () => this.startFrom(this.kind.value))),
      h("div", { class: "row" }, button("Split", () => this.split()), button("Merge", () => this.merge()),
        this.undoButton, this.redoButton),
      h("div", { class: "row" }, labelled("snap to", snap), labelled("gaps and overlaps allowed", this.free)),
      h("div", { class: "row", style: "margin:0" }, h("span", { style: "font-size:14px" }, "edges in Hz"),
        button("Cut here", () => this.setEdges(this.edges.value))), this.edges, this.valid);

    this.score = h("meter", { min: 0, max: 100, value: 0, "aria-label": "score" });
    this.scoreWords = h("p", { style: "margin:6px 0;font-size:14px;min-height:2.9em" });
    const game = h("section", { class: "card" }, h("h3", {}, "Yours against greedy"),
      h("p", { class: "soft", style: "margin:0 0 6px" }, "As many bands as “bands” says: reach the bound of a "
        + "designer that tries every split. It never looks back; you can."),
      h("div", { class: "row" }, button("Play the game", () => this.play()),
        button("Show greedy's", () => this._showGreedy())), this.score, this.scoreWords);

    this.name = h("input", { value: "my-bands", spellcheck: "false", style: "width:7em" });
    this.chooser = h("input", {
      type: "file", multiple: true, accept: "audio/*,.json,.csv,.yaml,.yml,.txt", "aria-label": "files",
      onchange: () => { this.openFiles([...this.chooser.files]); this.chooser.value = ""; },
    });
    const json = () => this._kept((scheme, name) => this._download(`${name}.json`, `${schemeJson(scheme)}\n`, "application/json"));
    const csv = () => this._kept((scheme, name) => (scheme.weights ? this.say("overlapping bands need JSON: a CSV holds edges only", true)
      : this._download(`${name}.csv`, `edge_hz\n${scheme.edges_hz.join("\n")}\n`, "text/csv")));
    const python = () => this._kept((scheme) => this._copy(scheme.own
      ? `bsrnn.bands.BandScheme.from_json(${JSON.stringify(schemeJson(scheme))})`
      : `bsrnn.bands.scheme("${scheme.name}", ${this.rate}, ${this.state.n_fft})`, "Python"));
    const train = () => this._kept((scheme, name) => this._copy(
      `python -m bsrnn train tiny --scheme ${scheme.own ? `${name}.json` : scheme.name}`, "the command that trains with these bands"));
    const keep = h("section", { class: "card" }, h("h3", {}, "Keep"),
      h("div", { class: "row" }, labelled("name", this.name), button("Save JSON", json), button("Save CSV", csv)),
      h("div", { class: "row" }, button("Copy Python", python), button("Copy for training", train)),
      h("div", { class: "row" }, button("Copy a link", () => this._copy(this.link(), "a link that restores all this")),
        button("Save setting", () => this._download("setting.json", JSON.stringify(this.setting()), "application/json"))));
    this.from = h("input", { type: "number", min: 0, step: 0.5, value: 0, style: "width:6em" });
    const open = h("section", { class: "card" }, h("h3", {}, "Open"),
      h("p", { class: "soft", style: "margin:0 0 6px" }, "Bands (JSON, CSV, a YAML of MSST or BandIt), a setting, "
        + "a song, or its stems together. Drop them anywhere here; they stay on this machine."),
      h("div", { class: "row" }, button("Open files …", () => this.chooser.click()), this.chooser,
        labelled("sound from second", this.from)));
    this.numberCard = h("section", { class: "card" }, h("h3", {}, "Numbers"),
      h("div", { class: "scroll" }, this.table));
    const keys = h("details", {}, h("summary", {}, "Keys"),
      h("dl", {}, ...KEYS.flatMap(([key, words]) => [h("dt", {}, key), h("dd", {}, words)])),
      h("small", {}, "Band keys work where a scheme has the focus (Tab). By mouse: click a band to hear it, "
        + "shift-click to mute, press and drag to sweep, drag an edge, double-click to split."));
    this.root.replaceChildren(h("style", {}, STYLE),
      h("div", { class: "row" }, this.playButton, this.time, this.hearing, this.muteButton, this.allButton,
        this.boostButton, this.boostWords),
      h("div", { class: "row" }, labelled("stem", stem), labelled("picture", show), labelled("axis", axis),
        ...(spec.grids.length > 1 ? [labelled("n_fft", n_fft)] : []), labelled("cost of", preset), this.addButton),
      this.heads, this.stage, legend, this.status,
      h("div", { class: "below" }, this.numberCard, design, game, keep, open), keys);
    this._listen();
  }

  _showGreedy() {
    if (!this.game) return this.say("play the game first", true);
    const { active } = this.state, lane = active ? 0 : 1;
    this.remember();
    if (this.lanes.length < 2) this.lanes.push({ scheme: this.game.greedy, band: 0 });
    this.put(this.game.greedy, lane, 0);
    this._controls();
    return this.say(`${LANES[lane].letter} shows the greedy bands`);
  }

  _choose(key, value) {
    const since = performance.now();
    if (key === "n_fft") {
      const setting = this.setting();
      this.say(`n_fft ${value}: the spectra are computed again …`);
      return setTimeout(() => {
        const lost = [];
        setting.lanes = setting.lanes.map((lane) => {
          if (typeof lane !== "string") return lane;
          const there = this.spec.grids.find((g) => g.n_fft === Number(value)).schemes.some((s) => s.name === lane);
          if (!there) lost.push(lane);
          return there ? lane : "v7";
        });
        this.past = [];
        this.future = [];
        this.restore({ ...setting, n_fft: Number(value), selected: [], solo: [], muted: [] });
        this.say(lost.length ? `${lost.join(", ")} has no bands at n_fft ${value}: v7 instead` : `n_fft ${value}`);
      }, 20);
    }
    this.state[key] = value;
    this._controls();
    this.changed(["stem", "hear", "boost"].includes(key) ? ["sound"] : ["lanes"], since);
    return undefined;
  }

  setLane(lane, name) {
    const since = performance.now();
    const scheme = this.builtIn(name);
    this.remember();
    this.lanes[lane] = { scheme, band: this._middle(scheme) };
    this.state.active = lane;
    this.solo.clear();
    this.muted.clear();
    this._controls();
    this.changed(["lanes", "sound"], since);
    this.tell(lane, this.lanes[lane].band);
  }

  addLane() {
    if (this.lanes.length === LANES.length) return;
    this.remember();
    const { scheme, band } = this.active;
    this.lanes.push({ scheme, band });
    this._controls();
    this.changed(["lanes"]);
    this.say(`${LANES[this.lanes.length - 1].letter} begins as a copy of ${scheme.name}`);
  }

  dropLane(lane) {
    if (this.lanes.length < 2) return;
    this.remember();
    this.lanes.splice(lane, 1);
    this.state.active = Math.min(this.state.active, this.lanes.length - 1);
    this.solo.clear();
    this.muted.clear();
    this._controls();
    this.changed(["lanes", "sound"]);
  }

  _controls() {
    const { state } = this, names = this.grid.schemes.map(({ name }) => name);
    this.heads.replaceChildren(...this.lanes.map(({ scheme }, i) => {
      const { letter, colour } = LANES[i];
      const options = scheme.own ? [scheme.name, ...names] : names;
      const choice = h("select", {
        "aria-label": `scheme ${letter}`, onchange: () => this.setLane(i, choice.value),
      }, ...options.map((value, n) => h("option", { value, ...(scheme.own && !n ? { disabled: true } : {}) }, value)));
      choice.value = scheme.name;
      const chip = h("span", { class: "chip", style: `background:${colour}` }, letter);
      const drop = h("button", { type: "button", "aria-label": `remove scheme ${letter}`, onclick: () => this.dropLane(i) }, "×");
      return h("div", {}, chip, choice, ...(this.lanes.length > 1 ? [drop] : []));
    }));
    this.addButton.disabled = this.lanes.length === LANES.length;
    this.numberCard.classList.toggle("wide", this.lanes.length > 2);
    const stems = this.stems.length ? this.stems : ["mixture"];
    this.choices.stem.replaceChildren(...stems.map((value) => h("option", { value }, value)));
    const letters = this.lanes.map((_, i) => LANES[i].letter);
    this.choices.snap.replaceChildren(...[...Object.keys(SNAPS), ...letters].map((value) =>
      h("option", { value }, SNAPS[value] ? value : `edges of ${value}`)));
    const heard = [["mixture", "mixture"]];
    if (this.stems.length) {
      heard.push(["stem", `true ${state.stem}`], ...letters.map((letter) => [letter, `${letter} allows`]), ["rest", "the rest"]);
    }
    if (!heard.some(([value]) => value === state.hear)) state.hear = heard.at(-1)[0] === "rest" ? "stem" : "mixture";
    if (![...Object.keys(SNAPS), ...letters].includes(state.snap)) state.snap = "bins";
    if (this.hearing.dataset.of !== JSON.stringify(heard)) {
      this.hearing.dataset.of = JSON.stringify(heard);
      this.hearing.replaceChildren(...heard.map(([value, words]) => h("label", {}, h("input", {
        type: "radio", name: `${this.id}-hear`, value, onchange: () => this._choose("hear", value),
      }), words)));
    }
    for (const radio of this.hearing.querySelectorAll("input")) radio.checked = radio.value === state.hear;
    for (const [key, element] of Object.entries(this.choices)) element.value = String(state[key]);
    this.count.value = state.bands;
    this.boostButton.setAttribute("aria-pressed", state.boost);
  }

  // ---- Drawing

  layout() {
    const width = this.stage.clientWidth, narrow = width < 600, height = narrow ? 420 : 500;
    const left = narrow ? 40 : 52, top = 20, bottom = 20, gap = narrow ? 6 : 10;
    const count = this.lanes.length, lane = (width - left - gap * (count - 1)) / count;
    const column = clamp(lane * 0.1, 12, 44), fan = clamp(lane * 0.08, 10, 36);
    const lanes = this.lanes.map((_, i) => {
      const x = left + i * (lane + gap), picture = lane - fan - 2 * column - 6;
      return {
        x, width: lane, picture, fan: x + picture + 2, fanWidth: fan,
        share: x + picture + fan + 4, cost: x + picture + fan + column + 6, column,
      };
    });
    const axis = AXES[this.state.axis], nyquist = this.rate / 2;
    const low = axis.low || 0, from = axis.of(low), to = axis.of(nyquist), inner = height - top - bottom;
    const y = (hz) => top + inner * (1 - (axis.of(clamp(hz, low, nyquist)) - from) / (to - from));
    return { width, height, left, top, bottom, gap, inner, lanes, y, low, nyquist };
  }

  // Bin (with its part) under a height of the picture, by bisection: every axis rises.
  binAt(y, place = this.place) {
    let low = 0, high = this.rate / 2;
    for (let i = 0; i < 40; i++) {
      const middle = (low + high) / 2;
      if (place.y(middle) > y) low = middle;
      else high = middle;
    }
    return low / this.step;
  }

  bandAt(lane, y) {
    const bin = this.binAt(y), parts = spans(this.lanes[lane].scheme);
    const k = parts.findIndex(([lo, hi]) => bin >= lo && bin < hi);
    return k < 0 ? (bin < parts[0][0] ? 0 : parts.length - 1) : k;
  }

  _image(lane, place) {
    const { show, stem, axis } = this.state, { scheme } = this.lanes[lane];
    const allowed = show === "allowed" && this.stems.length && !faults(scheme, this.spec.words) && this.excerpt.solved(scheme);
    const name = show === "mixture" ? "mixture" : stem;
    const key = `${name} ${axis} ${place.height} ${this.state.n_fft} ${this.sources.name}`;
    if (!allowed) {
      if (!this.images.has(key)) {
        if (this.images.size > 8) this.images.clear();
        this.images.set(key, this._painted(this.excerpt.levels("plain", name), place));
      }
      return this.images.get(key);
    }
    const kept = this.lanes[lane];
    if (kept.image?.scheme !== scheme || kept.image.key !== key) {
      kept.image = { scheme, key, picture: this._painted(this.excerpt.levels("allowed", stem, scheme), place) };
    }
    return kept.image.picture;
  }

  _painted(levels, place) {
    const { frames, bins } = this.excerpt, rows = place.inner;
    const picture = h("canvas", { width: frames, height: rows }), context = picture.getContext("2d");
    const image = context.createImageData(frames, rows), pixels = new Uint32Array(image.data.buffer);
    const edges = Array.from({ length: rows + 1 }, (_, row) => this.binAt(place.top + row, place));
    for (let row = 0; row < rows; row++) {
      const lo = clamp(Math.floor(edges[row + 1]), 0, bins - 1), hi = clamp(Math.ceil(edges[row]), lo + 1, bins);
      for (let t = 0; t < frames; t++) {
        let level = 0;
        for (let i = t * bins + lo, end = t * bins + hi; i < end; i++) if (levels[i] > level) level = levels[i];
        pixels[row * frames + t] = COLOURS[level];
      }
    }
    context.putImageData(image, 0, 0);
    return picture;
  }

  draw() {
    const place = (this.place = this.layout()), { width, height } = place, ratio = window.devicePixelRatio || 1;
    if (!(width > 0)) return;
    this.stage.style.height = `${height}px`;
    this.heads.style.paddingLeft = `${place.left}px`;
    this.heads.style.gap = `${place.gap}px`;
    for (const canvas of [this.canvas, this.cursor]) {
      if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
      }
    }
    const g = this.canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    this._drawAxis(g, place);
    const shares = this.lanes.map(({ scheme }) => this.excerpt.share(scheme, this.state.stem));
    const most = Math.max(1e-9, ...shares.flat());
    const rule = this.grid.cost[this.state.preset].parameters;
    const costs = this.lanes.map(({ scheme }) => scheme.ranges.map(([lo, hi]) => rule[1] + rule[2] * (hi - lo)));
    const dearest = Math.max(...costs.flat());
    this.lanes.forEach((_, i) => this._drawLane(g, place, i, shares[i], most, costs[i], dearest));
    this.laneBoxes.forEach((box, i) => {
      const lane = place.lanes[i];
      box.hidden = !lane;
      if (lane) box.style.cssText = `left:${lane.x}px;top:${place.top}px;width:${lane.width}px;height:${place.inner}px`;
    });
    this._overlay();
  }

  _drawAxis(g, place) {
    const axis = AXES[this.state.axis];
    g.font = "12px system-ui, sans-serif";
    g.fillStyle = "#333";
    g.textAlign = "right";
    g.textBaseline = "middle";
    let above = Infinity;
    axis.ticks(place.nyquist).forEach((hz, i) => {
      const y = place.y(hz);
      if (hz < place.low || hz > place.nyquist || above - y < 14) return;
      above = y;
      const words = axis.notes ? `C${i}` : hz < 1000 ? String(hz) : `${general(hz / 1000, 3)}k`;
      g.fillText(words, place.left - 8, clamp(y, place.top + 6, place.height - place.bottom - 6));
      g.fillRect(place.left - 5, Math.round(y), 4, 1);
    });
    g.textBaseline = "alphabetic";
    g.fillText(axis.notes ? "note" : "Hz", place.left - 8, 13);
    if (axis.notes) this._drawPiano(g, place);
  }

  _drawPiano(g, place) {
    for (let key = 21; key < 136; key++) {
      if (![1, 3, 6, 8, 10].includes(key % 12)) continue;
      const at = (midi) => place.y(440 * 2 ** ((midi - 69) / 12)), high = at(key + 0.5), low = at(key - 0.5);
      if (low - high > 1.2) g.fillRect(place.left - 5, high, 4, low - high);
    }
  }

  _drawLane(g, place, i, share, most, cost, dearest) {
    const lane = place.lanes[i], { scheme, band } = this.lanes[i], { colour } = LANES[i];
    const active = i === this.state.active, y = (bin) => place.y(bin * this.step), parts = spans(scheme);
    const lost = this.stems.length && !faults(scheme, this.spec.words) ? this.excerpt.lost(scheme, this.state.stem) : null;
    g.save();
    g.beginPath();
    g.rect(lane.x, place.top, lane.width, place.inner);
    g.clip();
    g.imageSmoothingEnabled = true;
    g.drawImage(this._image(i, place), lane.x, place.top, lane.picture, place.inner);
    for (const [lo, hi] of parts.slice(1)) { // close lines are faint: they must not hide the picture
      g.fillStyle = `rgba(255,255,255,${clamp((y(lo) - y(hi)) / 24, 0.16, 0.6)})`;
      g.fillRect(lane.x, Math.round(y(lo)), lane.picture, 1);
    }
    g.fillStyle = "#f6f7f8";
    g.fillRect(lane.x + lane.picture, place.top, lane.width - lane.picture, place.inner);
    parts.forEach(([lo, hi], k) => {
      const top = y(hi), size = Math.max(1, y(lo) - top - (y(lo) - top > 3 ? 1 : 0));
      if (!scheme.weights) {
        g.fillStyle = colour;
        g.globalAlpha = k % 2 ? 0.9 : 0.55;
        g.fillRect(lane.fan, top, lane.fanWidth, size);
        g.globalAlpha = 1;
      }
      g.fillStyle = "#9db7cf";
      g.fillRect(lane.share, top, (share[k] / most) * lane.column, size);
      if (lost) {
        g.fillStyle = "#c1121f";
        g.fillRect(lane.share, top, Math.min(1, lost[k] / most) * lane.column, size);
      }
      g.fillStyle = "#6b6b6b";
      g.fillRect(lane.cost, top, (cost[k] / dearest) * lane.column, size);
      if (active && !this.isOn(k)) {
        g.fillStyle = "rgba(10,10,20,0.62)";
        g.fillRect(lane.x, top, lane.picture, size);
        g.fillStyle = "rgba(246,247,248,0.8)";
        g.fillRect(lane.x + lane.picture, top, lane.width - lane.picture, size);
        if (this.muted.has(k)) this._hatch(g, lane.x, top, lane.picture, size);
      }
    });
    if (scheme.weights) this._drawWeights(g, lane, scheme, colour, y);
    const [lo, hi] = parts[band] || parts[0];
    g.strokeStyle = active ? "#ffb000" : "rgba(255,255,255,0.9)";
    g.lineWidth = active ? 2.5 : 1;
    g.strokeRect(lane.x + 1.5, y(hi) - 0.5, (active ? lane.width : lane.picture) - 3, Math.max(2, y(lo) - y(hi)));
    if (scheme.weights && active) this._drawOneWeight(g, lane, scheme, band, y);
    g.restore();
    g.font = "12px system-ui, sans-serif";
    g.fillStyle = "#333";
    g.textAlign = "left";
    g.fillText(`${scheme.ranges.length} bands`, lane.x, 14);
    const seconds = this.excerpt.length / this.rate;
    for (let s = 0; s <= seconds; s += lane.picture > 200 ? 1 : 2) {
      const x = lane.x + (s / seconds) * lane.picture;
      if (x + 18 < lane.x + lane.picture) g.fillText(s ? `${s} s` : "0", x + 2, place.height - 5);
      g.fillRect(x, place.height - place.bottom, 1, 5);
    }
  }

  _hatch(g, x, y, width, height) {
    g.save();
    g.beginPath();
    g.rect(x, y, width, height);
    g.clip();
    g.strokeStyle = "rgba(255,255,255,0.55)";
    g.lineWidth = 1;
    for (let at = -height; at < width; at += 9) {
      g.beginPath();
      g.moveTo(x + at, y + height);
      g.lineTo(x + at + height, y);
      g.stroke();
    }
    g.restore();
  }

  _weightPath(g, lane, scheme, k, y) {
    const [lo, hi] = scheme.ranges[k], weights = scheme.weights[k];
    scheme.heaviest ||= Math.max(...scheme.weights.map((row) => Math.max(...row)));
    g.beginPath();
    g.moveTo(lane.fan, y(lo));
    for (let f = lo; f < hi; f++) {
      const x = lane.fan + (weights[f - lo] / scheme.heaviest) * lane.fanWidth;
      g.lineTo(x, y(f));
      g.lineTo(x, y(f + 1));
    }
    g.lineTo(lane.fan, y(hi));
  }

  _drawWeights(g, lane, scheme, colour, y) {
    g.lineWidth = 1;
    scheme.ranges.forEach((_, k) => {
      this._weightPath(g, lane, scheme, k, y);
      g.globalAlpha = 0.16;
      g.fillStyle = colour;
      g.fill();
      g.globalAlpha = 0.75;
      g.strokeStyle = colour;
      g.stroke();
    });
    g.globalAlpha = 1;
  }

  _drawOneWeight(g, lane, scheme, k, y) {
    this._weightPath(g, lane, scheme, k, y);
    g.fillStyle = "rgba(255,176,0,0.75)";
    g.fill();
  }

  // What moves while it plays: the place in the song.
  _overlay() {
    if (!this.place) return;
    const g = this.cursor.getContext("2d"), ratio = window.devicePixelRatio || 1, { place } = this;
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, place.width, place.height);
    const at = this.player.position(), part = at / (this.excerpt.length / this.rate);
    for (const lane of place.lanes) {
      const x = lane.x + part * lane.picture;
      g.fillStyle = "rgba(0,0,0,0.6)";
      g.fillRect(x - 1.5, place.top, 4, place.inner);
      g.fillStyle = "#fff";
      g.fillRect(x - 0.5, place.top, 2, place.inner);
    }
    if (document.activeElement !== this.time) this.time.value = at;
  }

  _animate() {
    if (!this.player.playing) return;
    if (!this.root.isConnected) {
      this.player.close();
      return;
    }
    this._overlay();
    requestAnimationFrame(() => this._animate());
  }

  // ---- Mouse, touch and keys

  _listen() {
    const { stage, root } = this;
    stage.addEventListener("pointerdown", (event) => this._down(event));
    stage.addEventListener("pointermove", (event) => this._move(event));
    stage.addEventListener("pointerup", (event) => this._up(event));
    stage.addEventListener("pointercancel", () => { this._dragging = null; });
    stage.addEventListener("pointerleave", () => { if (!this._dragging) this.stage.style.cursor = ""; });
    stage.addEventListener("dblclick", (event) => {
      const hit = this._hit(event);
      if (!hit || hit.edge) return;
      this.allBands();
      this.split(Math.round(this.snapped(this.binAt(hit.y) * this.step)), hit.band);
    });
    root.addEventListener("keydown", (event) => this._key(event));
    for (const kind of ["dragover", "dragleave", "drop"]) {
      root.addEventListener(kind, (event) => {
        event.preventDefault();
        event.stopPropagation();
        root.classList.toggle("drop", kind === "dragover");
        if (kind === "drop") this.openFiles([...event.dataTransfer.files]);
      });
    }
    this._observer = new ResizeObserver(() => { if (this.lanes && this.lanes.length) this.draw(); });
    this._observer.observe(stage);
  }

  _hit(event) {
    if (!this.place) return null;
    const box = this.stage.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    const lane = this.place.lanes.findIndex((part) => x >= part.x && x <= part.x + part.width);
    if (lane < 0 || y < this.place.top || y > this.place.height - this.place.bottom) return null;
    const band = this.bandAt(lane, y), parts = spans(this.lanes[lane].scheme);
    const reach = event.pointerType === "touch" ? 9 : 4;
    const far = (k) => Math.abs(this.place.y((parts[k] ? parts[k][0] : 0) * this.step) - y);
    const edge = [band, band + 1].find((k) => k > 0 && k < parts.length && far(k) <= reach
      && this._thick(parts, k) > 5);
    return { lane, band, edge, x, y };
  }

  // Bands drawn thinner than a few pixels are heard, not dragged: their edges are out of reach.
  _thick(parts, k) {
    const height = (band) => this.place.y(parts[band][0] * this.step) - this.place.y(parts[band][1] * this.step);
    return Math.max(height(k), height(k - 1));
  }

  _down(event) {
    const hit = this._hit(event);
    if (!hit || event.button) return;
    const since = performance.now();
    event.preventDefault();
    this.stage.setPointerCapture(event.pointerId);
    this.laneBoxes[hit.lane].focus({ preventScroll: true });
    this.activate(hit.lane, since);
    this.active.band = hit.band;
    if (hit.edge) {
      this.remember();
      this._dragging = { edge: hit.edge, lane: hit.lane };
      this.active.band = Math.max(0, hit.edge - 1);
    } else if (event.shiftKey) this.toggle(hit.band, "mute");
    else {
      this._dragging = { sweep: true, lane: hit.lane, band: hit.band, moved: false };
      this._dragging.was = this.solo.size === 1 && this.solo.has(hit.band);
      if (!this._dragging.was) this.toggle(hit.band);
    }
    this.changed(["lanes"], since);
  }

  _move(event) {
    const drag = this._dragging, since = performance.now();
    if (!drag) {
      const hit = this._hit(event);
      this.stage.style.cursor = hit ? (hit.edge ? "ns-resize" : "pointer") : "";
      if (hit) this.tell(hit.lane, hit.band);
      return;
    }
    const y = event.clientY - this.stage.getBoundingClientRect().top;
    if (drag.edge) {
      this.moveEdge(drag.edge, this.snapped(this.binAt(y) * this.step), drag.lane);
      this.changed(["lanes"], since);
      this.tell(drag.lane, this.lanes[drag.lane].band);
      return;
    }
    const band = this.bandAt(drag.lane, y);
    if (band === drag.band) return;
    Object.assign(drag, { band, moved: true });
    this.active.band = band;
    this.solo = new Set([band]);
    this.muted.clear();
    this.changed(["sound"], since);
    this.tell(drag.lane, band);
  }

  _up() {
    const drag = this._dragging;
    this._dragging = null;
    if (!drag) return;
    if (drag.sweep && !drag.moved && drag.was) this.toggle(drag.band);
    if (drag.edge) {
      this._controls();
      if (this._isHeard(drag.lane)) this.changed(["sound"]);
    }
  }

  _laneKey(event, lane) {
    const { scheme } = this.active, last = scheme.ranges.length - 1, { band } = this.active;
    const go = (k) => {
      this.active.band = clamp(k, 0, last);
      if (this.solo.size) this.solo = new Set([this.active.band]);
      this.changed(this.solo.size ? ["sound"] : ["lanes"]);
      this.tell(lane, this.active.band);
    };
    const up = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
    const done = {
      Home: () => go(0), End: () => go(last), PageUp: () => go(band + 10), PageDown: () => go(band - 10),
      Enter: () => this.toggle(band), m: () => this.toggle(band, "mute"),
      s: () => this.split(), Delete: () => this.merge(), Backspace: () => this.merge(),
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (up && event.shiftKey) this.nudge(band + 1, up);
    else if (up && event.altKey) this.nudge(band, up);
    else if (up) go(band + up);
    else if (done && !event.ctrlKey && !event.metaKey) done();
    else return;
    this._controls();
    event.preventDefault();
  }

  _key(event) {
    event.stopPropagation(); // a notebook has keys of its own
    const typing = event.target.closest("textarea, select, input:not([type=radio], [type=range], [type=checkbox])");
    if (typing || event.defaultPrevented || event.altKey) return;
    const radios = [...this.hearing.querySelectorAll("input")];
    const key = event.key.toLowerCase(), pressed = event.target.closest("button, summary, [type=checkbox]");
    if (key === " " && !pressed) this.playPause();
    else if (key === "escape") this.allBands();
    else if (key === "o") this._choose("boost", !this.state.boost);
    else if (key === "z") this.undo(...(event.shiftKey ? [this.future, this.past] : []));
    else if (key === "y") this.undo(this.future, this.past);
    else if (/^[1-9]$/.test(key) && radios[key - 1]) this._choose("hear", radios[key - 1].value);
    else return;
    event.preventDefault();
  }

  close() {
    this.player.close();
    this._observer.disconnect();
  }
}

const COLOURS = (() => {
  const parts = HEAT.map((text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16)));
  return Uint32Array.from({ length: 256 }, (_, level) => {
    const at = (level / 255) * (parts.length - 1), i = Math.min(parts.length - 2, Math.floor(at));
    const [r, g, b] = parts[i].map((x, c) => Math.round(x + (parts[i + 1][c] - x) * (at - i)));
    return (255 << 24) | (b << 16) | (g << 8) | r;
  });
})();

function peak(sound) {
  let most = 0;
  for (const x of sound) for (const value of x) if (Math.abs(value) > most) most = Math.abs(value);
  return most;
}

function rms(sound) {
  let sum = 0;
  for (const x of sound) for (const value of x) sum += value * value;
  return Math.sqrt(sum / (sound.length * sound[0].length));
}

function toBase64(text) {
  return btoa(unescape(encodeURIComponent(text))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

function fromBase64(text) {
  return decodeURIComponent(escape(atob(text.replace(/-/g, "+").replace(/_/g, "/"))));
}

// Into an element of a page; element.instrument is the Instrument. spec: see instrument.py.
function mount(element, spec, audio, host) {
  element.instrument = new Instrument(element, spec, audio, host);
  return element.instrument;
}

// anywidget: `spec` (JSON text), `audio` (stem -> bytes), `state` and `design` in step with Python.
function render({ model, el }) {
  let timer, mine = "";
  const keep = (setting, design) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      mine = JSON.stringify(setting);
      model.set("state", setting);
      model.set("design", design);
      model.save_changes();
    }, 200);
  };
  const spec = JSON.parse(model.get("spec"));
  const instrument = mount(el, spec, model.get("audio"), { keep, quiet: true });
  model.on("change:state", () => {
    const state = model.get("state");
    if (JSON.stringify(state) !== mine && instrument.lanes) instrument.restore(state);
  });
  return () => instrument.close();
}

export { mount, render, Excerpt, costOf, faults, cutsOf, parseBands, schemeJson };
export default { render };
