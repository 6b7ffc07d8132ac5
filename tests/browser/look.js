// What the tests ask of a page. Elements are given by whoever calls.
const look = {
  // The middle of an element, once it is in view, does not move, and nothing covers it.
  async target(element) {
    if (!element) return null;
    const dialog = document.querySelector('.jp-Dialog'); // on a machine that is busy; JupyterLab connects again by itself
    if (dialog?.innerText.includes('Server Connection Error')) dialog.querySelector('button.jp-Dialog-button').click();
    element.scrollIntoView({ block: 'center', inline: 'nearest' });
    const before = element.getBoundingClientRect();
    await new Promise((done) => setTimeout(done, 60));
    const now = element.getBoundingClientRect();
    if (!now.width || now.x !== before.x || now.y !== before.y) return null;
    const [x, y] = [now.x + now.width / 2, now.y + now.height / 2];
    const top = document.elementFromPoint(x, y);
    return element.contains(top) || top?.contains(element) ? [x, y] : null;
  },

  // red, green, blue (0 to 255) and alpha of a computed colour
  colour(text) {
    const numbers = text.match(/-?[\d.]+(e-?\d+)?/g).map(Number);
    const [red, green, blue, alpha = 1] = text.startsWith('color(') ? [...numbers.slice(0, 3).map((one) => one * 255), numbers[3]] : numbers;
    return [red, green, blue, alpha];
  },

  over(front, back) {
    const alpha = front[3];
    return [0, 1, 2].map((place) => alpha * front[place] + (1 - alpha) * back[place]).concat(1);
  },

  // The colour behind an element's text: that of each ancestor over those behind it.
  behind(element) {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const layer = look.colour(getComputedStyle(one).backgroundColor);
      layers.push(layer);
      if (layer[3] === 1) break;
    }
    return layers.reverse().reduce((back, front) => look.over(front, back), [255, 255, 255, 1]);
  },

  opacity(element) {
    let product = 1;
    for (let one = element; one; one = one.parentElement) product *= Number(getComputedStyle(one).opacity);
    return product;
  },

  // WCAG 2: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance
  luminance(colour) {
    const [red, green, blue] = colour.slice(0, 3).map((one) => one / 255).map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  },

  contrast(one, other) {
    const [dark, light] = [look.luminance(one), look.luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  },

  visible(element) {
    return element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && element.getBoundingClientRect().width > 1;
  },

  // Texts within the elements whose contrast is too low: "4.1 the text". Large text needs 3, other text 4.5.
  pale(elements) {
    const found = [];
    for (const root of elements) {
      const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
      for (let text = texts.nextNode(); text; text = texts.nextNode()) {
        const element = text.parentElement;
        if (!text.data.trim() || !look.visible(element) || element.closest('svg, [aria-disabled=true], :disabled')) continue;
        const style = getComputedStyle(element);
        const back = look.behind(element);
        const front = look.colour(style.color);
        front[3] *= look.opacity(element);
        const size = parseFloat(style.fontSize);
        const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
        const ratio = look.contrast(look.over(front, back), back);
        if (ratio < least) found.push(`${ratio.toFixed(2)} ${text.data.trim().slice(0, 60)}`);
      }
    }
    return [...new Set(found)];
  },

  // Elements that are wider than their place: "1300 of 900 px: TABLE the beginning of its text".
  wide(elements) {
    return [...elements]
      .filter((one) => look.visible(one) && one.scrollWidth > one.clientWidth + 1)
      .map((one) => `${one.scrollWidth} of ${one.clientWidth} px: ${one.tagName} ${one.innerText.trim().slice(0, 60)}`);
  },

  // What can have the keyboard's focus within an element.
  focusable(root) {
    return [...root.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex]')].filter(
      (one) => look.visible(one) && !one.disabled && one.tabIndex >= 0,
    );
  },
};
