// What folium's map lacks: photos with their neighbours, a swipe, a legend that follows the layer,
// a basemap that may fail. Called once by the page, with folium's variables by their names.
function gairlibMap(data, made) {
  const map = made[data.map];
  const narrow = () => map.getContainer().clientWidth < 600;

  function element(tag, properties, ...children) {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  }

  // ------------------------------------------------------------------ photos and their pop-ups

  function circle(at, options, group) {
    return L.circleMarker(at, options).addTo(made[group]);
  }

  // Markers are SVG paths; this lets a keyboard and a screen reader reach them.
  function reachable(marker, label) {
    marker.on("add", () => {
      const path = marker.getElement();
      if (!path) return;
      path.setAttribute("tabindex", "0");
      path.setAttribute("role", "button");
      path.setAttribute("aria-label", label);
      path.onkeydown = (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); marker.openPopup(); }
      };
    });
    if (marker.getElement && marker.getElement()) marker.fire("add");
  }

  function picture(photo, width, height) {
    if (!photo.src)
      return element("div", {className: "no-picture", textContent: "picture not in this file"});
    // a stated size: Leaflet moves the map for the pop-up before the picture is decoded
    const scale = Math.min(width / photo.width, height / photo.height);
    return element("img", {src: photo.src, alt: "photo " + photo.id,
      width: Math.round(scale * photo.width), height: Math.round(scale * photo.height)});
  }

  function metres(d) {
    return d < 1000 ? d + " m" : (d / 1000).toFixed(d < 10000 ? 1 : 0) + " km";
  }

  function popup(photo, rows, markers) {
    const box = element("div", {className: "gairlib-popup"}, picture(photo, 220, 150),
      element("b", {textContent: photo.id}), element("div", {textContent: photo.place}),
      element("div", {textContent: photo.facts.map((f) => f.join(": ")).join(" \u00B7 ")}));
    if (!photo.near.length) return box;
    const near = element("div", {className: "gairlib-near"});
    for (const [row, cosine, distance] of photo.near) {
      const other = rows[row];
      const label = "cos " + cosine.toFixed(2) + ", " + metres(distance);
      const button = element("button", {type: "button", title: other.id,
        ariaLabel: "nearest photo " + other.id + ": " + label},
        picture(other, 100, 50), element("span", {textContent: label}));
      button.onclick = () => markers[row].openPopup();
      near.append(button);
    }
    box.append(element("div", {className: "gairlib-near-title",
      textContent: "Nearest photos here by embedding (cosine, metres away)"}), near);
    return box;
  }

  if (data.photos) {
    const rows = data.photos.rows, many = rows.length > 300;
    const markers = rows.map((photo, i) => {
      const marker = circle(photo.at, {radius: photo.chosen ? 9 : many ? 3.5 : 5, color: "#ffffff",
        weight: photo.chosen ? 3 : many ? 1 : 1.5, fillOpacity: 1, className: "gairlib-photo",
        fillColor: photo.chosen ? data.colours.chosen : data.colours.photo}, data.photos.group);
      marker.bindPopup(() => popup(photo, rows, markers), {maxWidth: 250, minWidth: 220,
        autoPanPaddingTopLeft: [52, 10]});
      if (!many) reachable(marker, "photo " + photo.id);
      return marker;
    });
    const chosen = rows.findIndex((p) => p.chosen);
    if (chosen >= 0) markers[chosen].bringToFront();
  }
  if (data.finding) {
    const ring = circle(data.finding.at, {radius: 9, color: data.colours.found, weight: 4,
      fill: false, className: "gairlib-found"}, data.finding.group);
    ring.bindPopup(data.finding.text, {maxWidth: 220});
    reachable(ring, data.finding.text);
  }

  // ------------------------------------------------------------------ the swipe

  if (data.swipe) {
    const s = data.swipe, right = made[s.layer];
    const options = {className: "gairlib-top gairlib-pixelated", attribution: right.getAttribution()};
    const sides = [L.imageOverlay(s.url, s.bounds, options),
                   L.imageOverlay(right._url, right.getBounds(), options)];
    const group = L.layerGroup(sides);
    const handle = element("div", {className: "gairlib-swipe", tabIndex: 0, hidden: true},
      element("span", {className: "side left", textContent: s.left}),
      element("span", {className: "knob", textContent: "\u25C0\u2009\u25B6"}),
      element("span", {className: "side right", textContent: s.right}));
    const attributes = {role: "slider", "aria-label": "swipe: " + s.left + " on the left, " +
      s.right + " on the right", "aria-orientation": "horizontal", "aria-valuemin": 0,
      "aria-valuemax": 100};
    for (const [name, value] of Object.entries(attributes)) handle.setAttribute(name, value);
    // in a pane of its own: over pictures and markers, under pop-ups
    const pane = map.createPane("gairlib-swipe");
    pane.style.zIndex = 650;
    pane.append(handle);
    let share = 0.5;  // of the window's width

    function place() {
      const size = map.getSize(), x = share * size.x, corner = map.containerPointToLayerPoint([x, 0]);
      Object.assign(handle.style, {left: corner.x + "px", top: corner.y + "px",
                                   height: size.y + "px"});
      handle.setAttribute("aria-valuenow", Math.round(100 * share));
      sides.forEach((side, k) => {
        const image = side.getElement();
        if (!image) return;
        const bounds = side.getBounds();
        const from = map.latLngToContainerPoint(bounds.getNorthWest()).x;
        const to = map.latLngToContainerPoint(bounds.getSouthEast()).x;
        const at = 100 * Math.min(1, Math.max(0, (x - from) / (to - from)));
        image.style.clipPath = k === 0 ? `inset(0 ${100 - at}% 0 0)` : `inset(0 0 0 ${at}%)`;
      });
    }
    function move(to) { share = Math.min(0.98, Math.max(0.02, to)); place(); }

    map.on("move zoom zoomend resize viewreset", () => { if (!handle.hidden) place(); });
    group.on("add", () => { handle.hidden = false; place(); });
    group.on("remove", () => { handle.hidden = true; });
    L.DomEvent.disableClickPropagation(handle);
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      event.stopPropagation();
    });
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const box = map.getContainer().getBoundingClientRect();
      move((event.clientX - box.left) / box.width);
    });
    handle.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 0.1 : 0.02;
      const to = {ArrowLeft: share - step, ArrowRight: share + step, Home: 0, End: 1}[event.key];
      if (to === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      move(to);
    });
    made[data.control].addBaseLayer(group, s.name);
    group.gairlib = "swipe";
  }

  // ------------------------------------------------------------------ the basemap

  if (data.basemap) {
    const tiles = L.tileLayer(data.basemap.url, data.basemap.options);
    const sentence = document.getElementById("gairlib-no-tiles");
    let loaded = false;
    tiles.on("tileload", () => { loaded = true; sentence.hidden = true; });
    // "load": every tile of the window has been tried; one that fails among others is no matter
    tiles.on("load", () => {
      if (loaded || !map.hasLayer(tiles)) return;
      setTimeout(() => map.removeLayer(tiles));  // not while Leaflet is still adding it
      sentence.hidden = false;
    });
    tiles.addTo(map);
    made[data.control].addOverlay(tiles, data.basemap.name);
  }

  // ------------------------------------------------------------------ legend and controls

  function explain(name) {
    for (const part of document.querySelectorAll(".gairlib-legend [data-layer]"))
      part.hidden = part.dataset.layer !== name;
  }
  map.on("baselayerchange", (event) => explain(event.layer.gairlib || event.name));
  const control = made[data.control];
  for (const {layer, name, overlay} of control._layers)
    if (!overlay && map.hasLayer(layer)) explain(layer.gairlib || name);
  // On a phone both boxes would cover the map; they open with a tap.
  if (narrow()) {
    control.remove();
    control.options.collapsed = true;
    control.addTo(map);
    const legend = document.querySelector(".gairlib-legend");
    if (legend) legend.open = false;
  }
}
