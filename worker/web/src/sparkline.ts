// A line without axes: the shape of the last minutes.

/** Draws the values; the last one, which is provisional, gets a dot. */
export function draw(canvas: HTMLCanvasElement, values: readonly number[], moved: number): void {
  const style = getComputedStyle(canvas);
  const [width, height] = [canvas.clientWidth || 90, canvas.clientHeight || 26];
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext('2d');
  if (!context || values.length === 0) return;
  context.scale(scale, scale);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (index: number): number => 3 + (values.length === 1 ? width - 6 : (index / (values.length - 1)) * (width - 6));
  const y = (value: number): number => (high === low ? height / 2 : 3 + ((high - value) / (high - low)) * (height - 6));
  const colour = style.getPropertyValue(moved < 0 ? '--down' : '--up').trim();
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.lineJoin = 'round';
  context.beginPath();
  values.forEach((value, index) => (index === 0 ? context.moveTo(x(0), y(value)) : context.lineTo(x(index), y(value))));
  context.stroke();
  const last = values[values.length - 1];
  if (last === undefined) return;
  context.fillStyle = style.getPropertyValue('--provisional').trim();
  context.beginPath();
  context.arc(x(values.length - 1), y(last), 2.2, 0, 2 * Math.PI);
  context.fill();
}
