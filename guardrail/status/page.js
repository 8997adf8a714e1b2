"use strict";
// Keeps the page new: fetches it again, and takes over what has changed. What is shown is made, and escaped,
// by the server alone. A token that was asked for is in this function, and goes nowhere but to the source.
(() => {
  const PERIOD = 5000; // milliseconds between looks
  const TIMEOUT = 10000; // milliseconds for an answer
  const find = (id) => document.getElementById(id);
  const main = document.querySelector("main");
  const [live, pause, ask, forget] = ["live", "pause", "ask", "forget"].map(find);
  const source = document.body.dataset.source || location.pathname + location.search;
  let token = null;
  let timer = 0;
  let visit = 0; // an answer to an earlier question, asked with another token or before a pause, is not shown
  let isPaused = false;

  const say = (text) => {
    if (live.textContent !== text) live.textContent = text;
  };

  // In place, so that a selection, the focus and the place one reads at stay where they are.
  const become = (now, next) => {
    if (now.nodeName !== next.nodeName) return now.replaceWith(next);
    if (now.nodeType === Node.TEXT_NODE) {
      if (now.data !== next.data) now.data = next.data;
      return;
    }
    for (const { name } of [...now.attributes]) if (!next.hasAttribute(name)) now.removeAttribute(name);
    for (const { name, value } of next.attributes) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
    const [before, after] = [[...now.childNodes], [...next.childNodes]];
    after.forEach((one, index) => (index < before.length ? become(before[index], one) : now.append(one)));
    before.slice(after.length).forEach((one) => one.remove());
  };

  const stop = () => {
    clearTimeout(timer);
    visit += 1;
  };

  const giveUpToken = (text) => {
    stop();
    token = null;
    main.replaceChildren();
    [ask.hidden, pause.hidden, forget.hidden] = [false, true, true];
    say(text);
  };

  const look = async () => {
    stop();
    const mine = visit;
    const headers = { accept: "text/html" };
    if (token !== null) headers.authorization = `Bearer ${token}`;
    try {
      const signal = AbortSignal.timeout(TIMEOUT);
      const answer = await fetch(source, { headers, cache: "no-store", redirect: "error", signal });
      const text = await answer.text();
      if (mine !== visit) return;
      if (ask && (answer.status === 401 || answer.status === 403)) {
        return giveUpToken(`Not shown: the token was refused (${answer.status}).`);
      }
      const next = new DOMParser().parseFromString(text, "text/html").querySelector("main");
      if (!answer.ok || next === null) throw new Error(`the answer was ${answer.status}`);
      become(main, next);
      if (ask) [ask.hidden, pause.hidden, forget.hidden] = [true, false, false];
      say("Live: looks every 5 seconds.");
    } catch (error) {
      if (mine !== visit) return;
      say(`Not up to date, will try again: ${error.message}`);
    }
    timer = setTimeout(look, PERIOD);
  };

  const isWanted = () => !isPaused && !document.hidden && (ask === null || token !== null);
  const resume = () => (isWanted() ? look() : stop());

  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Go on" : "Pause";
    if (isPaused) say("Paused.");
    resume();
  });
  document.addEventListener("visibilitychange", resume);
  ask?.addEventListener("submit", (event) => {
    event.preventDefault();
    const field = find("token");
    [token, field.value] = [field.value.trim().replace(/^Bearer\s+/i, ""), ""];
    isPaused = false;
    pause.textContent = "Pause";
    say("Asking …");
    look();
  });
  forget?.addEventListener("click", () => giveUpToken("The token is forgotten."));

  if (ask) {
    say("Needs an access token.");
  } else {
    pause.hidden = false;
    say("Live: looks every 5 seconds.");
    timer = setTimeout(look, PERIOD);
  }
})();
