/* Three answers, one sampler: where do CoPG, DPO, IPO and policy gradient end?  Plain JavaScript, no libraries.

   The first half is pure: a state in, policies out.  `tests/test_book_simplex.py` holds every end to `bandits`.

       state      {reward, reference, behavior: three numbers each, beta, cycle}
       cycle      kappa: answer 1 beats 2, 2 beats 3 and 3 beats 1 with log-odds kappa more than the rewards say
       sampling   pairs from mu x mu (single answers from mu for policy gradient); training starts at the reference

   The second half draws: a handle for mu and one for the reference, sliders, a table; the address holds the state. */
(function () {
  "use strict";

  // ---- the ends ---------------------------------------------------------------------------------------------

  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const sigmoid = (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

  function softmax(logits) {
    const top = Math.max(...logits);
    const weights = logits.map((x) => Math.exp(x - top));
    const total = sum(weights);
    return weights.map((w) => w / total);
  }

  /** ref exp(score / beta) / Z: the optimum of E[score] - beta KL  (T1.1). */
  const tilted = (state, score) => softmax(state.reference.map((p, y) => Math.log(p) + score[y] / state.beta));

  /** Log-odds that answer i beats j. */
  function logOdds(state, i, j) {
    const turn = i === j ? 0 : (j - i + 3) % 3 === 1 ? 1 : -1;
    return state.reward[i] - state.reward[j] + turn * state.cycle;
  }

  const preference = (state, i, j) => sigmoid(logOdds(state, i, j));

  /** CoPG: pi*, whoever sampled, as long as mu gives every answer  (T3.3). */
  const copg = (state) => tilted(state, state.reward);

  /** IPO: the optimum of p(y beats mu)  (T4.1). */
  const ipo = (state) => tilted(state, [0, 1, 2].map((y) => sum(state.behavior.map((m, z) => m * preference(state, y, z)))));

  /** DPO: the Bradley-Terry fit of the comparisons that mu shows, pi* if there is no cycle  (T5.1, T5.2). */
  const dpo = (state) => tilted(state, bradleyTerry(state));

  /** Newton's method on the strengths (x0, x1, 0), damped as in T5.2. */
  function bradleyTerry(state) {
    let x = state.reward.map((r) => r - state.reward[2]);
    for (let step = 0; step < 200; step++) {
      const g = [0, 0, 0], L = [[0, 0, 0], [0, 0, 0], [0, 0, 0]];
      for (let i = 0; i < 3; i++)
        for (let j = 0; j < 3; j++) {
          if (i === j) continue;
          const weight = state.behavior[i] * state.behavior[j], s = sigmoid(x[i] - x[j]);
          g[i] += weight * (preference(state, i, j) - s);
          L[i][i] += weight * s * (1 - s);
          L[i][j] -= weight * s * (1 - s);
        }
      const det = L[0][0] * L[1][1] - L[0][1] * L[1][0];
      const d = [(L[1][1] * g[0] - L[0][1] * g[1]) / det, (L[0][0] * g[1] - L[1][0] * g[0]) / det, 0];
      const gap = Math.max(Math.abs(d[0]), Math.abs(d[1]), Math.abs(d[0] - d[1]));
      const length = gap > 1 ? Math.log1p(gap) / gap : 1;
      x = x.map((value, y) => value + length * d[y]);
      if (gap < 1e-14) break;
    }
    return x;
  }

  /** Policy gradient with b = E_mu[R], which is linear and ends at pi*  (T2.5, T3.7). */
  const meanBaseline = (state) => tilted(state, state.reward);

  /** Policy gradient with b = 0 on mu's samples, unweighted; rewards >= 0, so that b <= J* and there is one end  (T2.5).

      a = r/beta + log ref;  pi = omega(a + log(c/mu)) mu / c  with the c > 0 that makes the sum one. */
  function noBaseline(state) {
    const a = state.reference.map((p, y) => Math.log(p) + state.reward[y] / state.beta);
    const logMu = state.behavior.map(Math.log), excess = Math.log(sum(a.map(Math.exp)));
    if (excess <= 1e-15) return softmax(a); // all rewards are zero: nothing moves
    const policy = (logC) => a.map((x, y) => logOmegaPolicy(x, logC - logMu[y]));
    let low = Math.log(excess) - Math.max(...a.map((x, y) => x - logMu[y])) - 1;
    let high = 2 + Math.max(...a.map((x, y) => logMu[y] + Math.log(Math.max(x + Math.log(3), 1e-300)))) + Math.log(3);
    for (let step = 0; step < 200 && high - low > 1e-15 * Math.abs(low + high); step++) {
      const middle = (low + high) / 2;
      if (sum(policy(middle).map(Math.exp)) > 1) low = middle;
      else high = middle;
    }
    return softmax(policy((low + high) / 2));
  }

  /** log pi = a - v where v + log v = a + shift, written so that no digit is lost for small and large v. */
  function logOmegaPolicy(a, shift) {
    const z = a + shift;
    let t = z <= 1 ? z : Math.log(z); // t = log v; Newton comes down to the root
    for (let step = 0; step < 60; step++) {
      const move = (Math.exp(t) + t - z) / (Math.exp(t) + 1);
      t -= move;
      if (Math.abs(move) < 1e-16 * (1 + Math.abs(t))) break;
    }
    return t < 0 ? a - Math.exp(t) : t - shift;
  }

  const ALGORITHMS = [
    { name: "CoPG", page: "CoPG", end: copg, shape: "circle", color: "#0072B2" },
    { name: "DPO", page: "DPO", end: dpo, shape: "diamond", color: "#D55E00" },
    { name: "IPO", page: "IPO", end: ipo, shape: "square", color: "#E69F00" },
    { name: "Policy gradient, b = 0", page: "PolicyGradient", end: noBaseline, shape: "triangle", color: "#009E73" },
    { name: "Policy gradient, b = E_μ[R]", page: "PolicyGradient", end: meanBaseline, shape: "cross", color: "#CC79A7" },
  ];

  /** Every end of a state, by name. */
  const ends = (state) => Object.fromEntries(ALGORITHMS.map((each) => [each.name, each.end(state)]));

  /** KL(p || q) in nats. */
  const divergence = (p, q) => sum(p.map((x, y) => (x > 0 ? x * Math.log(x / q[y]) : 0)));

  /** J* - J = beta KL(pi || pi*)  (T1.2). */
  const regret = (state, policy) => Math.max(0, state.beta * divergence(policy, copg(state)));

  // ---- the state in the address -----------------------------------------------------------------------------

  const LEAST = 0.01; // of a probability of mu and of the reference: every answer is given now and then
  const RANGES = { beta: [0.1, 2], reward: [0, 3], cycle: [-2, 2] };
  const START = { reward: [1, 0.6, 0], reference: [0.25, 0.3, 0.45], behavior: [0.1, 0.3, 0.6], beta: 0.5, cycle: 0 };

  /** The nearest policy that has no entry below LEAST. */
  function inside(policy) {
    const above = policy.map((p) => Math.max(p - LEAST, 0)), total = sum(above);
    return above.map((p) => LEAST + ((1 - 3 * LEAST) * (total > 0 ? p : 1)) / (total > 0 ? total : 3));
  }

  const clamp = (value, [low, high]) => Math.min(high, Math.max(low, value));
  const short = (value) => String(Number(value.toFixed(4)));

  /** #mu=.1,.3,.6&... */
  function toFragment(state) {
    const list = (values) => values.map(short).join(",");
    const parts = { mu: list(state.behavior), ref: list(state.reference), r: list(state.reward) };
    return `#mu=${parts.mu}&ref=${parts.ref}&r=${parts.r}&beta=${short(state.beta)}&cycle=${short(state.cycle)}`;
  }

  /** What a link of `bandits.explorer` carries, in our words; nothing if it is none. */
  function ofTheExplorer(json) {
    try {
      const { rewards, reference, behavior, beta, cycle } = JSON.parse(json);
      const said = { r: rewards, ref: reference, mu: behavior, beta, cycle };
      return Object.entries(said).filter(([, value]) => value !== undefined).map(([key, value]) => [key, String(value)]);
    } catch {
      return [];
    }
  }

  /** The state of an address; what it lacks, or says wrongly, is as at the start. */
  function fromFragment(text) {
    let given = new URLSearchParams(text.replace(/^#/, ""));
    if (given.has("state")) given = new URLSearchParams(ofTheExplorer(given.get("state")));
    const three = (key) => {
      const words = (given.get(key) || "").split(",");
      const values = words.map((word) => (word.trim() ? Number(word) : NaN));
      return values.length === 3 && values.every(Number.isFinite) ? values : null;
    };
    const number = (key, range, otherwise) => {
      const value = Number(given.get(key));
      return given.get(key) && Number.isFinite(value) ? clamp(value, range) : otherwise;
    };
    const policy = (key, otherwise) => {
      const values = three(key);
      return values && values.every((p) => p >= 0) && sum(values) > 0
        ? inside(values.map((p) => p / sum(values))) : otherwise;
    };
    return {
      behavior: policy("mu", START.behavior),
      reference: policy("ref", START.reference),
      reward: three("r") ? three("r").map((r) => clamp(r, RANGES.reward)) : START.reward,
      beta: number("beta", RANGES.beta, START.beta),
      cycle: number("cycle", RANGES.cycle, START.cycle),
    };
  }

  const core = { ends, copg, dpo, ipo, noBaseline, meanBaseline, regret, divergence, inside, toFragment, fromFragment, START };
  if (typeof module !== "undefined" && module.exports) module.exports = core;
  if (typeof document === "undefined") return;
  window.alignmentSimplex = core;

  // ---- the picture ------------------------------------------------------------------------------------------

  const SIDE = 330, LEFT = 45, BASE = 330, HEIGHT = (SIDE * Math.sqrt(3)) / 2;
  const place = (p) => [LEFT + SIDE * (p[1] + p[2] / 2), BASE - HEIGHT * p[2]];
  function policyAt(x, y) {
    const third = (BASE - y) / HEIGHT, second = (x - LEFT) / SIDE - third / 2;
    return inside([1 - second - third, second, third]);
  }

  function make(tag, attributes = {}, ...children) {
    const drawn = ["svg", "g", "path", "circle", "text", "title"].includes(tag);
    const node = drawn ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  const OUTLINES = {
    circle: "M-9.5 0a9.5 9.5 0 1 0 19 0a9.5 9.5 0 1 0-19 0",
    diamond: "M0-15L15 0L0 15L-15 0Z",
    square: "M-7-7H7V7H-7Z",
    triangle: "M0-9L9 7H-9Z",
    plus: "M0-16V16M-16 0H16",
    cross: "M-15-15L-9-9M9 9L15 15M-15 15L-9 9M9-9L15-15", // all of them can be seen where they share an end
  };
  const marker = (each) => make("path", { d: OUTLINES[each.shape], class: "end", stroke: each.color });

  const fixed = (value) => value.toFixed(4);
  const spoken = (policy) => policy.map((p, y) => `answer ${y + 1}: ${Math.round(100 * p)} %`).join(", ");

  const PRESETS = {
    "the map of ends": START,
    "CoPG's toy": { reward: [2.5, 2, 1], reference: [1 / 3, 1 / 3, 1 / 3], behavior: [0.075, 0.125, 0.8], beta: 0.5, cycle: 0 },
    "rock, paper, scissors": { reward: [0, 0, 0], reference: [1 / 3, 1 / 3, 1 / 3], behavior: [0.6, 0.3, 0.1], beta: 0.3, cycle: 1.5 },
    "a favourite that loses in turn": { reward: [1, 0.8, 0], reference: [0.2, 0.3, 0.5], behavior: [0.2, 0.2, 0.6], beta: 0.4, cycle: 1 },
    "mu is the reference": { ...START, behavior: START.reference },
  };

  /** The algorithm of the page, where the five do not have it: its end was computed in one world, for one mu. */
  function ofThePage({ about, end, own }) {
    const policy = JSON.parse(end), fixed = ["reward", "reference", "beta", "cycle", ...(own === "true" ? [] : ["behavior"])];
    const there = (state) => fixed.every((key) => String(state[key]) === String(START[key]));
    return { name: `${about}, on the map of ends`, page: about, end: (state) => (there(state) ? policy : null), shape: "plus", color: "#6E6E6E" };
  }

  /** One triangle in an element of the page. */
  function mount(home) {
    let state = fromFragment(location.hash);
    const about = home.dataset.about, shown = [...ALGORITHMS, ...(home.dataset.end ? [ofThePage(home.dataset)] : [])];
    const handles = {};
    const svg = make("svg", { viewBox: "0 0 420 375", class: "triangle", role: "group", "aria-label": "All policies of three answers, as a triangle" });
    const corners = [[0, 0, "start"], [1, 0, "end"], [2, -14, "middle"]];
    const edge = ["1,0,0", "0,1,0", "0,0,1"].map((p) => place(p.split(",").map(Number)).join(" "));
    svg.append(make("path", { d: `M${edge.join("L")}Z`, class: "edge" }));
    const names = corners.map(([y, up, anchor]) => {
      const [x, height] = place([0, 1, 2].map((z) => (z === y ? 1 : 0)));
      const shift = y === 0 ? -35 : y === 1 ? 35 : 0;
      const text = make("text", { x: x + shift, y: y === 2 ? height + up : height + 24, "text-anchor": anchor });
      svg.append(text);
      return text;
    });
    const optimum = make("path", { d: "M0-7L1.8-2.2H7L2.8 .9L4.3 6L0 3L-4.3 6L-2.8 .9L-7-2.2H-1.8Z", class: "optimum" });
    optimum.append(make("title", {}, "π*, the optimum"));
    const marks = shown.map((each) => {
      const mark = marker(each);
      if (each.page === about) mark.classList.add("about");
      mark.append(make("title", {}, each.name));
      return mark;
    });
    svg.append(...marks, optimum);
    for (const [key, label, sign] of [["reference", "Reference", "ref"], ["behavior", "μ, who samples", "μ"]]) handles[key] = handle(key, label, sign);

    function handle(key, label, sign) {
      const node = make("g", { tabindex: 0, role: "slider", class: `handle ${key}`, "aria-label": `${label}. Arrow keys move it`, "aria-valuemin": 0, "aria-valuemax": 100 });
      node.append(make("circle", { r: 22, class: "reach" }), make("circle", { r: 12, class: "knob" }), make("text", { y: 5, "text-anchor": "middle" }, sign));
      const move = (policy) => change({ [key]: inside(policy) });
      node.addEventListener("keydown", (event) => {
        const size = event.shiftKey ? 0.1 : 0.02;
        const step = { ArrowLeft: [1, -1, 0], ArrowRight: [-1, 1, 0], ArrowUp: [-0.5, -0.5, 1], ArrowDown: [0.5, 0.5, -1] }[event.key];
        if (event.key === "Home") move([1 / 3, 1 / 3, 1 / 3]);
        else if (step) move(state[key].map((p, y) => p + size * step[y]));
        else return;
        event.preventDefault();
      });
      node.addEventListener("pointerdown", (event) => {
        node.setPointerCapture(event.pointerId);
        node.focus();
        event.preventDefault();
      });
      node.addEventListener("pointermove", (event) => {
        if (!node.hasPointerCapture(event.pointerId)) return;
        const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
        move(policyAt(at.x, at.y));
      });
      svg.append(node);
      return node;
    }

    const inputs = [];
    function slider(label, range, read, write) {
      const id = `simplex-${inputs.length}`, out = make("output", { for: id });
      const input = make("input", { type: "range", id, min: range[0], max: range[1], step: 0.05 });
      input.addEventListener("input", () => change(write(Number(input.value))));
      inputs.push({ input, out, read });
      return make("p", {}, make("label", { for: id }, label), input, out);
    }
    const reward = (y) => slider(`reward of answer ${y + 1}`, RANGES.reward, (s) => s.reward[y], (v) => ({ reward: state.reward.map((r, z) => (z === y ? v : r)) }));
    const choice = make("select", { id: "simplex-preset" }, make("option", { value: "" }, "a world to start from …"), ...Object.keys(PRESETS).map((name) => make("option", { value: name }, name)));
    choice.addEventListener("change", () => choice.value && change(PRESETS[choice.value]));
    const controls = make("div", { class: "controls" },
      make("p", {}, make("label", { for: "simplex-preset" }, "world"), choice),
      slider("β, weight of the KL", RANGES.beta, (s) => s.beta, (beta) => ({ beta })),
      reward(0), reward(1), reward(2),
      slider("cycle in the preferences", RANGES.cycle, (s) => s.cycle, (cycle) => ({ cycle })));

    const head = ["", "ends at", "regret", "KL to ref"].map((text, i) => make(i ? "th" : "td", i ? { scope: "col" } : {}, text));
    const rows = shown.map((each) => {
      const icon = make("svg", { viewBox: "-18 -18 36 36", class: "icon", "aria-hidden": "true" }, marker(each));
      const cells = ["policy", "regret", "kl"].map((name) => make("td", { class: name }));
      const row = make("tr", { "data-name": each.name }, make("th", { scope: "row" }, icon, ` ${each.name}`), ...cells);
      if (each.page === about) row.classList.add("about");
      return { row, cells };
    });
    const table = make("table", {}, make("caption", {}, "Where each ends"), make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows.map((each) => each.row)));
    const hint = make("p", { class: "hint" }, "Drag μ or ref, or reach them with Tab and press the arrow keys. ★ is π*, the optimum. The address of this page holds what you set.");
    home.append(make("div", { class: "board" }, make("div", {}, svg, hint), controls), make("div", { class: "scrolls", tabindex: 0, role: "region", "aria-label": "Ends" }, table));

    function change(part) {
      state = { ...state, ...part };
      history.replaceState(null, "", toFragment(state));
      draw();
    }

    function draw() {
      const at = (node, policy) => node.setAttribute("transform", `translate(${place(policy).join(" ")})`);
      for (const [key, node] of Object.entries(handles)) {
        at(node, state[key]);
        node.setAttribute("aria-valuenow", Math.round(100 * state[key][0]));
        node.setAttribute("aria-valuetext", spoken(state[key]));
      }
      at(optimum, copg(state));
      names.forEach((text, y) => (text.textContent = `answer ${y + 1}, r = ${short(state.reward[y])}`));
      shown.forEach((each, i) => {
        const policy = each.end(state), [where, lost, far] = rows[i].cells;
        marks[i].classList.toggle("absent", policy === null);
        if (policy === null) {
          where.textContent = "not computed here";
          lost.textContent = far.textContent = "";
          return;
        }
        at(marks[i], policy);
        rows[i].row.dataset.policy = JSON.stringify(policy);
        where.textContent = policy.map(fixed).join("  ");
        lost.textContent = fixed(regret(state, policy));
        far.textContent = fixed(divergence(policy, state.reference));
      });
      inputs.forEach(({ input, out, read }) => {
        input.value = read(state);
        out.textContent = read(state).toFixed(2);
      });
    }

    window.addEventListener("hashchange", () => {
      if (!/(^#|&)(mu|ref|r|beta|cycle|state)=/.test(location.hash)) return;
      state = fromFragment(location.hash);
      draw();
    });
    draw();
  }

  const start = () => document.querySelectorAll("div.simplex").forEach(mount);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
