// The model's arithmetic, in float64: logits (W x + b) / T, and their softmax.

class Model {
  constructor(facts) {
    Object.assign(this, facts);
    this.coef = Model.numbers(facts.coef, facts.dtype);
    this.intercept = Model.numbers(facts.intercept, facts.dtype);
    this.m = facts.height * facts.width;
    this.c = facts.classes.length;
  }

  // Little-endian numbers, from base64.
  static numbers(text, dtype) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const [size, read] = dtype === "float64" ? [8, "getFloat64"] : [4, "getFloat32"];
    return Float64Array.from({ length: bytes.length / size }, (_, i) => view[read](i * size, true));
  }

  // What a row of X holds where so much ink (0 to 255) is on each pixel.
  pixels(ink) {
    return Float64Array.from(ink, (v) => this.paper + ((this.full - this.paper) * v) / 255);
  }

  probabilities(x) {
    const logits = new Float64Array(this.c);
    for (let k = 0; k < this.c; k++) {
      let sum = 0;
      for (let j = 0; j < this.m; j++) sum += this.coef[k * this.m + j] * x[j];
      logits[k] = (sum + this.intercept[k]) / this.temperature;
    }
    const most = logits.reduce((a, b) => Math.max(a, b));
    const exps = logits.map((z) => Math.exp(z - most));
    const total = exps.reduce((a, b) => a + b);
    return exps.map((e) => e / total);
  }

  // What each pixel adds to the logit of class k, beyond what it adds to the mean of all, and beyond bare paper.
  evidence(x, k) {
    return Float64Array.from({ length: this.m }, (_, j) => {
      let mean = 0;
      for (let l = 0; l < this.c; l++) mean += this.coef[l * this.m + j];
      return ((this.coef[k * this.m + j] - mean / this.c) * (x[j] - this.paper)) / this.temperature;
    });
  }
}
